<?php
// Says in JSON what PHP makes of a form.
$files = [];
foreach ($_FILES as $name => $file) {
    $files[] = [
        "name" => $name,
        "filename" => $file["name"],
        "type" => $file["type"],
        "content" => base64_encode(file_get_contents($file["tmp_name"])),
    ];
}
header("Content-Type: application/json");
echo json_encode(["fields" => (object) $_POST, "files" => $files], JSON_THROW_ON_ERROR);
