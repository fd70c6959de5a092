// One stream of server-sent events that is always open while the page is visible: it reconnects by itself, and
// notices a connection that is silent for too long. A page that nobody sees for a minute costs the cell nothing.

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 10000;
const HIDDEN_MS = 60000;

export class Feed {
  /**
   * handlers: by event name. onLink(state, text): `live`, `lost` or `refused`, and why. onOpen: before the first
   * event of each connection. silenceMs: longest time between two events.
   */
  constructor(url, { handlers, onLink = () => {}, onOpen = () => {}, silenceMs = 15000 }) {
    Object.assign(this, { url, handlers, onLink, onOpen, silenceMs });
    this.retryMs = FIRST_RETRY_MS;
    this.closed = false;
    this.onVisibility = () => this.#seen(!document.hidden);
    document.addEventListener("visibilitychange", this.onVisibility);
    this.#connect();
  }

  /** Close it for good. */
  close() {
    this.closed = true;
    document.removeEventListener("visibilitychange", this.onVisibility);
    clearTimeout(this.hiding);
    this.#drop();
  }

  #connect() {
    this.#drop();
    const source = (this.source = new EventSource(this.url));
    source.onopen = () => {
      this.retryMs = FIRST_RETRY_MS;
      this.onOpen();
      this.onLink("live", "");
      this.#heard();
    };
    source.onerror = () => this.#lost();
    for (const [name, handle] of Object.entries(this.handlers)) {
      source.addEventListener(name, (event) => {
        if (this.source !== source) return;
        this.#heard();
        handle(JSON.parse(event.data));
      });
    }
    this.#heard();
  }

  #drop() {
    this.source?.close();
    this.source = null;
    clearTimeout(this.retrying);
    clearTimeout(this.silence);
  }

  #heard() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.#lost(), this.silenceMs);
  }

  async #lost() {
    this.#drop();
    if (this.closed) return;
    const waitMs = this.retryMs;
    this.retryMs = Math.min(waitMs * 2, LONGEST_RETRY_MS);
    this.retrying = setTimeout(() => this.#connect(), waitMs);
    this.onLink("lost", "");
    const reason = await refusal(this.url);
    if (reason && !this.source && !this.closed) this.onLink("refused", reason);
  }

  #seen(visible) {
    clearTimeout(this.hiding);
    if (!visible) this.hiding = setTimeout(() => this.#drop(), HIDDEN_MS);
    else if (!this.source && !this.closed) this.#connect();
  }
}

/** Why the server refuses a stream, which an EventSource does not tell; empty if it does not. */
async function refusal(url) {
  const stop = new AbortController();
  try {
    const response = await fetch(url, { signal: stop.signal });
    return response.ok ? "" : String((await response.json()).error ?? "");
  } catch {
    return "";
  } finally {
    stop.abort();
  }
}
