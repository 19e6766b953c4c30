// Says in JSON what Express's parsers make of a form: /querystring, /qs and /multipart (multer, which is busboy).
const express = require("express");
const multer = require("multer");

const app = express();
const echo = (request, response) =>
  response.json({
    fields: request.body ?? {},
    files: (request.files ?? []).map((file) => ({
      name: file.fieldname,
      filename: file.originalname,
      type: file.mimetype,
      content: file.buffer.toString("base64"),
    })),
  });

app.post("/querystring", express.urlencoded({ extended: false, limit: "5mb", parameterLimit: 2000 }), echo);
app.post("/qs", express.urlencoded({ extended: true, limit: "5mb", parameterLimit: 2000 }), echo);
app.post("/multipart", multer({ defParamCharset: "utf8" }).any(), echo);

// What the WHATWG's own serializers, which Node has, make of the same pairs.
app.post("/serialize", express.json({ limit: "5mb" }), async (request, response) => {
  const form = new FormData();
  for (const [name, value] of request.body) form.append(name, value);
  const sent = new Request("http://127.0.0.1/", { method: "POST", body: form });
  response.json({
    urlencoded: new URLSearchParams(request.body).toString(),
    type: sent.headers.get("content-type"),
    multipart: Buffer.from(await sent.arrayBuffer()).toString("base64"),
  });
});

app.listen(Number(process.argv[2]), "127.0.0.1", () => console.log("listening"));
