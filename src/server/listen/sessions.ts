import {
  constants,
  type Http2SecureServer,
  type Http2Server,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { Server } from 'node:net';

/** Milliseconds between two looks. Whoever stands still from one to the next is ended. */
const usualLook = 60_000;

interface Known {
  /** Each with how it stood at the last look. */
  readonly streams: Map<ServerHttp2Stream, string>;
  wasIdle: boolean;
}

const moving = '';

/**
 * The connections of a server for HTTP/2. A client that has begun a request and does not end it, or does not read its answer, holds memory,
 * and one that does nothing a place: all of them are ended after a minute or two. Work that takes longer than that is none of these.
 */
export class Sessions {
  readonly #known = new Map<ServerHttp2Session, Known>();

  /** @param lifetime at whose end it ends */
  constructor(
    server: Http2Server | Http2SecureServer,
    lifetime: Pick<Server | Http2SecureServer, 'on'>,
    every: number = usualLook,
  ) {
    (server as Http2Server).on('session', (session) => this.#follow(session));
    const timer = setInterval(() => this.#look(), every).unref();
    (lifetime as Server).on('close', () => clearInterval(timer));
  }

  /** Whether no call is under way. */
  get isQuiet(): boolean {
    return [...this.#known.values()].every(({ streams }) => streams.size === 0);
  }

  /** Ends connections when they are idle. */
  closeIdle(): void {
    for (const session of this.#known.keys()) session.close();
  }

  #follow(session: ServerHttp2Session): void {
    const known: Known = { streams: new Map(), wasIdle: false };
    this.#known.set(session, known);
    session.on('stream', (stream) => {
      known.wasIdle = false;
      known.streams.set(stream, moving);
      stream.on('close', () => known.streams.delete(stream));
    });
    session.on('close', () => this.#known.delete(session));
  }

  #look(): void {
    for (const [session, known] of this.#known) {
      if (known.streams.size === 0 && known.wasIdle) session.close();
      known.wasIdle = known.streams.size === 0;
      for (const [stream, before] of known.streams) {
        const now = standing(stream);
        if (now !== moving && now === before) stream.close(constants.NGHTTP2_CANCEL);
        else known.streams.set(stream, now);
      }
    }
  }
}

/** What of a stream waits for the client; while the server is at work, nothing does. */
function standing(stream: ServerHttp2Stream): string {
  if (!stream.readableEnded) return 'request';
  return stream.writableLength > 0 ? `${stream.writableLength} bytes of an answer` : moving;
}
