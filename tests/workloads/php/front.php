<?php
// GET /front?id=N asks PORT/PATH, as NEXT says, with N: once with PHP's own streams, once with libcurl; over TLS if SCHEME says so.
// GET /fail?id=N fails.
$id = $_GET['id'] ?? '0';
if (str_starts_with($_SERVER['REQUEST_URI'], '/fail')) {
    throw new RuntimeException('broken');
}
if (str_starts_with($_SERVER['REQUEST_URI'], '/logs')) {
    // Three lines around a wait, through PHP's own log and to a file.
    ini_set('error_log', getenv('LOG'));
    error_log("INFO begin rid=$id");
    usleep(1000 * ($id * 7 % 5));
    file_put_contents(getenv('LOG'), "WARN fine rid=$id\n", FILE_APPEND);
    error_log("INFO end rid=$id");
    exit('ok');
}
[$port, $path] = explode('/', getenv('NEXT'), 2);
$url = (getenv('SCHEME') ?: 'http') . "://127.0.0.1:$port";
$first = file_get_contents("$url/$path?id=$id");
$handle = curl_init("$url/again?id=$id");
curl_setopt($handle, CURLOPT_RETURNTRANSFER, true);
if (getenv('SSL_CERT_FILE')) {
    curl_setopt($handle, CURLOPT_CAINFO, getenv('SSL_CERT_FILE'));
}
$second = curl_exec($handle);
if ($first === false || $second === false) {
    http_response_code(502);
}
header('Content-Type: text/plain');
echo $first, $second;
