// Reads a JSON list of YAML 1.2 texts from standard input and writes the values they hold, or the error of each.
const { parseDocument } = require("yaml");

const texts = JSON.parse(require("fs").readFileSync(0, "utf8"));
const values = texts.map((text) => {
  const document = parseDocument(text, { version: "1.2" });
  const faults = [...document.errors, ...document.warnings].map(String);
  return faults.length ? { faults } : { value: document.toJS() };
});
process.stdout.write(JSON.stringify(values));
