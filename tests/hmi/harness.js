// Runs a function node's text outside Node-RED: {script, messages, faceplate} on stdin, one line of
// outputs a message on stdout. Context and flow are what Node-RED gives a function node.
const { script, messages, faceplate } = JSON.parse(require('fs').readFileSync(0, 'utf8'))
const store = () => {
  const kept = {}
  return { get: (key) => kept[key], set: (key, value) => { kept[key] = value } }
}
const context = store()
const flow = store()
flow.set('faceplate', faceplate)
const node = { status () {} }
const run = new Function('msg', 'context', 'flow', 'node', script)
console.log(JSON.stringify(messages.map((msg) => run(msg, context, flow, node) ?? null)))
