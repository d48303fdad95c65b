// The envelope that the REST API of Cloudflare wraps its answers in.

function json(status, body, headers = {}) {
  return new Response(JSON.stringify(body), {
    status,
    headers: { "content-type": "application/json", ...headers },
  });
}

export function success(result, extra = {}) {
  return json(200, { success: true, errors: [], messages: [], result, ...extra });
}

export function failure(status, code, message, headers = {}) {
  const errors = [{ code, message }];
  return json(status, { success: false, errors, messages: [], result: null }, headers);
}

export function noRoute(path) {
  const message = `Could not route to ${path}, perhaps your object identifier is invalid?`;
  return failure(404, 7003, message);
}
