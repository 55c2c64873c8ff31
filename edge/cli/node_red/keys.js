// Function node "keys": a key pressed on the faceplate in, one Modbus write out.
// The write goes to the key words, never to block R: the PLC's program takes them in its next scan,
// checks them and shows in block R what came of them. Both outputs carry nothing but what is right:
// a key that may not act is refused with a note on the second one.

const view = flow.get("faceplate");
const press = msg.payload || {};
const words = new Array(T.words_r).fill(0);
const set = (name, value) => { words[T.r[name].offset] = value; };
const bits = {
    accept: T.control.ACCEPT, reject: T.control.REJECT, acknowledge: T.control.ACKNOWLEDGE,
    shelve: T.control.SHELVE, maintenance: T.control.MAINTENANCE,
    defect: T.control.LABEL_DEFECT, false_alarm: T.control.LABEL_FALSE_ALARM,
};
const refuse = (why) => [null, { topic: "note", payload: "refused: " + why }];

if (!T.has_r) return refuse("this line has no block R");
if (!view || !view.keys) return refuse("no key works now");
if (press.key === "accept" || press.key === "reject") {
    if (!view.alive || !view.answerable) return refuse("no suggestion is open");
    if (press.seq !== view.offer.seq) return refuse("this suggestion is no longer the one shown");
    set("TRIM_SEQ_ACK", press.seq);
} else if (press.key === "shelve") {
    const minutes = Number(press.minutes);
    if (!Number.isInteger(minutes) || minutes < 1 || minutes > T.shelve_max_min) {
        return refuse("shelve for 1 to " + T.shelve_max_min + " minutes");
    }
    set("SHELVE_MIN", minutes);
} else if (press.key === "repair") {
    const component = Number(press.component), kind = Number(press.kind);
    if (!Object.hasOwn(T.components, component) || !Object.hasOwn(T.kinds, kind)) {
        return refuse("choose the component and what was done");
    }
    set("MAINT_EVENT", 1);
    set("MAINT_COMPONENT", component);
    set("MAINT_KIND", kind);
}
if (Object.hasOwn(bits, press.key)) set("CONTROL", bits[press.key]);
else if (press.key !== "repair") return refuse("unknown key");
return [
    {
        payload: {
            value: words, fc: 16, unitid: T.unit_id, address: T.keys_address,
            quantity: words.length,
        },
    },
    { topic: "note", payload: "sent to the PLC: " + String(press.key).replace("_", " ") },
];
