// What the page hears once a second, how old that is, and when it turns grey.
//
// Ages come from the server and go on with this browser's own stop watch: its clock is never read.

const SILENT_S = 5;
const body = document.body;

export const node = (id) => document.getElementById(id);

export function put(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export const lasted = (s) =>
  s < 90 ? `${Math.max(0, Math.round(s))} s`
    : s < 5400 ? `${Math.round(s / 60)} min`
      : s < 129600 ? `${(s / 3600).toFixed(1)} h` : `${Math.round(s / 86400)} days`;

export const clock = (t) => new Date(t * 1000).toISOString().slice(11, 16);

export async function ask(path) {
  const answer = await fetch(path, { headers: { accept: "*/*" } });
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}

export const asked = async (path) => (await ask(path)).json();

export function health(place, ne107) {
  place.dataset.ne107 = ne107.number;
  place.querySelector("use").setAttribute("href", `#ne${ne107.number}`);
}

// What stands at the top of every screen of a line.
export function header(line) {
  node("simulated").hidden = !line.simulated;
  health(node("health"), line.ne107);
  put(node("health-word"), line.ne107.word);
  put(node("batch"), /^\d/.test(line.batch) ? `Batch ${line.batch}` : line.batch);
}

// Show every message of a stream; `show(told)` gets the newest. One stream of a page tells its age.
export function listen(show, url = body.dataset.stream, tellsAge = true) {
  let source = null, told = null, heard = 0, again = 0;

  function open() {
    close();
    source = new EventSource(url);
    source.onmessage = (event) => {
      told = JSON.parse(event.data);
      heard = performance.now();
      show(told);
      if (tellsAge) paint();
    };
    source.onerror = () => {
      // A refusal ends the stream for good; the browser tries again only after a lost connection.
      if (source.readyState === EventSource.CLOSED) again = setTimeout(open, 3000);
    };
  }
  function close() {
    clearTimeout(again);
    source?.close();
    source = null;
  }
  function paint() {
    const silent = (performance.now() - heard) / 1000;
    const [state, age, why] = judge(told, silent);
    if (body.className !== state) body.className = state;
    put(node("age"), age);
    put(node("stale"), why);
    if (state === "stale") {
      // As on the faceplate: an appliance that is not heard is a failure, whatever it said last.
      health(node("health"), { number: 1 });
      put(node("health-word"), "failure: not heard");
    }
  }
  // A window nobody sees takes no place among the few connections a browser has for one server.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  if (tellsAge) setInterval(paint, 500);
  open();
}

// [class of the page, age, what is wrong]. The last is read out, so no number in it counts on.
function judge(told, silent) {
  if (!told) return ["waiting", "no news yet", ""];
  if (silent > SILENT_S) {
    return ["stale", `no contact for ${lasted(silent)}`,
      "No contact with the page's server. What is shown is old."];
  }
  if (told.state === "waiting") {
    return ["stale", "no news yet",
      told.fault || "ncm-edge has not said anything yet. Is it running (systemctl status ncm-edge)?"];
  }
  if (told.state === "gone") {
    return ["stale", "stopped", "ncm-edge has stopped. What is shown is the last it said."];
  }
  const age = told.age_s + silent;
  if (told.state === "old") {
    return ["stale", `${lasted(age)} old`, "ncm-edge says nothing any more. What is shown is old."];
  }
  if (told.fault || told.absent) return ["stale", "cannot be shown", told.fault || told.absent];
  return ["live", age < 2.5 ? "now" : `${lasted(age)} ago`, ""];
}
