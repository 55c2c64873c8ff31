// Function node "faceplate": words of block W and R in, what the operator may see out.
// T is the register contract, put before this text by the generator. Inputs, by msg.topic:
//   "W", "R"  the words as read in one request     "tick"  once a second     "note"  a text
// Time is counted in ticks and not read from a clock, so that a clock that is set hides nothing.
// Nothing of a block is shown unless every check holds; and none is believed before its heartbeat
// was seen to move, because a block that was left standing in the PLC looks like any other.

const s = context.get("state") || {
    w: null, seq: null, quiet: T.timeout_s, torn: "", answerless: 0,
    r: null, beat: null, plcQuiet: T.timeout_s, note: "", noteAge: 0,
};

function word(table, words, name) {
    const row = table[name];
    let raw = words[row.offset];
    if (row.kind === "uint32") raw = raw * 65536 + words[row.offset + 1];
    if (row.kind === "int16" && raw > 32767) raw -= 65536;
    if (row.invalid && raw === T.invalid) return null;
    // Tenths and thousandths as people write them: 0.1 * 3 is not 0.3 in binary.
    return row.scale === 1 ? raw : Math.round(raw * row.scale * 1000) / 1000;
}

function crc16(words) {
    let crc = 0xffff;
    for (const value of words) {
        for (const byte of [value >> 8, value & 255]) {
            crc ^= byte;
            for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >> 1) ^ 0xa001 : crc >> 1;
        }
    }
    return crc;
}

// Why this is no whole, current block; "" if it is one.
function flaw(words) {
    const sound = Array.isArray(words) && words.length === T.words_w &&
        words.every((w) => Number.isInteger(w) && w >= 0 && w <= 65535);
    if (!sound) return "not " + T.words_w + " words";
    const head = words[T.w.SEQ_HEAD.offset], tail = words[T.w.SEQ_TAIL.offset];
    if (head === 0) return "block W was never published";
    if (head !== tail) return "block W is torn";
    const at = T.w.CRC.offset;
    if (crc16(words.slice(0, at)) !== words[at]) return "block W is damaged";
    const version = words[T.w.MAP_VERSION.offset];
    if (version >> 8 !== T.major) return "block W has map version " + (version >> 8);
    return "";
}

if (msg.topic === "W") {
    s.answerless = 0;
    s.torn = flaw(msg.payload);
    if (s.torn) {
        s.w = null;
    } else {
        const seq = msg.payload[T.w.SEQ_HEAD.offset];
        if (s.seq !== null && seq !== s.seq) s.quiet = 0;
        s.seq = seq;
        s.w = msg.payload;
    }
} else if (msg.topic === "R") {
    if (!Array.isArray(msg.payload) || msg.payload.length !== T.words_r) return null;
    const beat = msg.payload[T.r.PLC_HEARTBEAT.offset];
    if (s.beat !== null && beat !== s.beat) s.plcQuiet = 0;
    s.beat = beat;
    s.r = msg.payload;
} else if (msg.topic === "tick") {
    s.quiet += 1;
    s.plcQuiet += 1;
    s.answerless += 1;
    s.noteAge += 1;
    if (s.noteAge > T.note_s) s.note = "";
} else if (msg.topic === "note") {
    s.note = String(msg.payload);
    s.noteAge = 0;
} else {
    return null;
}
context.set("state", s);

const view = {
    title: T.title, components: T.components, kinds: T.kinds, note: s.note, age_s: s.quiet,
    alive: false, fault: "", offer: null, alarms: [], suspects: [], keys: false, maintenance: false,
};
const plcRuns = s.r !== null && s.plcQuiet < T.timeout_s;
view.keys = T.has_r && plcRuns;
if (s.answerless >= T.timeout_s) {
    view.fault = "no answer from the PLC";
    view.keys = false;
} else if (s.torn) {
    view.fault = s.torn;
} else if (s.w === null || s.quiet >= T.timeout_s) {
    view.fault = "the advisor's heartbeat stands still";
} else {
    view.alive = true;
}
if (s.r !== null && plcRuns) {
    const control = word(T.r, s.r, "CONTROL");
    view.maintenance = Boolean(control & T.control.MAINTENANCE);
    view.applied_kg_h = word(T.r, s.r, "TRIM_APPLIED");
    view.plc_batch = word(T.r, s.r, "BATCH");
} else if (T.has_r && !view.fault) {
    view.plc = "the PLC's program stands still: no key works";
}
if (view.alive) show(s.w, (name) => word(T.w, s.w, name));
flow.set("faceplate", view);
const tone = view.alive ? "green" : "grey";
node.status({ fill: tone, shape: "dot", text: view.alive ? view.health.word : view.fault });
return { payload: view };

function show(words, get) {
    const status = get("STATUS");
    const health = T.ne107[get("NE107")] || T.ne107[1];
    view.health = health;
    view.simulated = Boolean(status & T.status.SIMULATION);
    view.infer_age_s = get("INFER_AGE");
    view.quality = get("DATA_QUALITY");
    view.drift = get("DRIFT_SCORE");
    view.batch = get("BATCH");
    view.phase = get("PHASE");
    view.states = T.states.filter((row) => status & row.bit).map((row) => row.text);
    const raised = get("ALARMS");
    view.alarms = T.alarms.filter((row) => raised & row.bit);
    // Outputs about another batch than the one that runs say nothing about it.
    view.other_batch = view.plc_batch !== undefined && view.plc_batch !== view.batch;
    const probability = get("DEFECT_PROB"), severity = get("SEVERITY");
    view.valid = Boolean(status & T.status.OUTPUT_VALID) && !view.other_batch &&
        probability !== null && severity !== null && severity < T.severity.length;
    if (view.valid) {
        view.probability = probability;
        view.severity = severity;
        view.severity_text = T.severity[severity];
        for (const place of [1, 2, 3]) {
            const id = get("COMP" + place + "_ID");
            if (id) {
                const name = T.components[id] || "component " + id;
                view.suspects.push({ name, score: get("COMP" + place + "_SCORE") });
            }
        }
    }
    const state = get("TRIM_STATE"), base = get("TRIM_BASE"), ttl = get("TRIM_TTL");
    view.trim_state = T.trim_state[state] || "unknown";
    view.reason = T.trim_reason[get("TRIM_REASON")] || "reason " + get("TRIM_REASON");
    const open = status & T.status.TRIM_OFFERED && ttl > 0 && base !== null && !view.other_batch;
    if (state === T.offered && open) {
        const delta = get("TRIM_NAOH");
        view.offer = {
            seq: get("TRIM_SEQ"), base, delta, to: Math.round((base + delta) * 10) / 10,
            lo: get("TRIM_LO"), hi: get("TRIM_HI"), ttl,
        };
    }
    view.answerable = Boolean(view.offer) && view.keys && (!view.simulated || T.act_on_simulation);
    view.keys = view.keys && (!view.simulated || T.act_on_simulation);
}
