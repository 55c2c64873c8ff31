// Node-RED for the tests: loopback only, no editor, nothing installed or reported at run time.
// The test gives port and flow; every file Node-RED writes lies in the folder of the test.
const path = require('path')

module.exports = {
  uiHost: '127.0.0.1',
  uiPort: Number(process.env.HMI_PORT),
  httpAdminRoot: false,
  flowFile: 'flow.json',
  credentialSecret: false,
  // Not needed by the flow; each file less is a shorter start.
  nodesExcludes: [
    '05-tls.js', '06-httpproxy.js', '10-mqtt.js', '21-httpin.js', '21-httprequest.js',
    '22-websocket.js', '31-tcpin.js', '32-udp.js', '70-CSV.js', '70-HTML.js', '70-JSON.js',
    '70-XML.js', '70-YAML.js', '17-split.js', '18-sort.js', '19-batch.js', '10-file.js',
    '23-watch.js', '90-exec.js', '80-template.js', '89-delay.js', '89-trigger.js'
  ],
  nodesDir: path.join(__dirname, 'node_modules'),
  contextStorage: { default: { module: 'memory' } },
  externalModules: { autoInstall: false, palette: { allowInstall: false } },
  telemetry: { enabled: false, updateNotification: false },
  functionExternalModules: false,
  diagnostics: { enabled: false, ui: false },
  runtimeState: { enabled: false, ui: false },
  logging: { console: { level: 'info', metrics: false, audit: false } },
  editorTheme: { tours: false }
}
