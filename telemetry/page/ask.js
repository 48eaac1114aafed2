// The JSON API beside the page.

export class AnswerError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const ask = (path) => answer(path, { cache: "no-store" });

export const tell = (path, body) =>
  answer(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

async function answer(path, options) {
  const response = await fetch(path, { ...options, signal: AbortSignal.timeout(15000) });
  const content = await response.json().catch(() => ({}));
  if (!response.ok) throw new AnswerError(response.status, content.error ?? `${path}: ${response.status}`);
  return content;
}
