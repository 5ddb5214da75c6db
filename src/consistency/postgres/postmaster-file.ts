import { readBelow } from './data-directory.ts';

/** What a server that runs has written into `postmaster.pid` about itself, or what one that died has left there. */
export interface PostmasterFile {
  /** In the namespace of the server, which may be that of a container. */
  readonly pid: number;
  /** A single process without a socket, as for repairs. */
  readonly isAlone: boolean;
  readonly port: number | undefined;
  readonly socketDirectory: string | undefined;
  /** The whole of it, to see whether it is still the same. */
  readonly text: string;
}

/** Undefined where there is none. Whoever owns the directory may have written it, so what can't be is left out. */
export function readPostmasterFile(dataDirectory: number): PostmasterFile | undefined {
  const bytes = readBelow(dataDirectory, 'postmaster.pid', 8192);
  if (!bytes) return undefined;
  const text = bytes.toString('utf8');
  const [first = '', , , port = '', socket = ''] = text.split('\n');
  const pid = /^-?\d{1,10}$/.test(first.trim()) ? Number(first) : 0;
  return {
    pid: Math.abs(pid),
    isAlone: pid < 0,
    port: /^\d{1,5}$/.test(port) && Number(port) > 0 && Number(port) < 65_536 ? Number(port) : undefined,
    socketDirectory: /^\/[^\0]{0,1000}$/.test(socket) ? socket : undefined,
    // The last line changes while the server goes up and down.
    text: text.split('\n').slice(0, 4).join('\n'),
  };
}
