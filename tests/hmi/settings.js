// Node-RED for the tests: loopback only, no editor, nothing installed or reported at run time.
// The test gives port and flow; every file Node-RED writes lies in the folder of the test.
const path = require('path')

module.exports = {
  uiHost: '127.0.0.1',
  uiPort: Number(process.env.HMI_PORT),
  httpAdminRoot: false,
  flowFile: 'flow.json',
  credentialSecret: false,
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
