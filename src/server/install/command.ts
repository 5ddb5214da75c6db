import { realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import type { ServeFlags } from '../options.ts';
import { commandWord } from './quoting.ts';

/** Of flags that name a file or a directory: the service has no directory of its own that they could be relative to. */
const paths = ['tlsCert', 'tlsKey', 'tlsClientCa', 'tokens', 'state', 'auditLog'] as const;

const words = ['socketScope', 'listen', 'logLevel'] as const;

/**
 * The command of the service: this Node, this program, and the flags that were given. The socket and its group are not among them: those are
 * systemd's.
 * @param pools what clients call each, and where it is
 */
export function serviceCommand(
  { execPath, argv }: Pick<NodeJS.Process, 'execPath' | 'argv'>,
  flags: ServeFlags,
  pools: ReadonlyMap<string, string>,
): string {
  const given = [
    ...[...pools].map(([name, path]) => ['--pool', `${name}=${path}`]),
    ...words.flatMap((name) => pair(name, flags[name])),
    ...paths.flatMap((name) => pair(name, flags[name], resolve)),
    ...(flags.imageDirectory ?? []).map((path) => ['--image-directory', realpathSync(path)]),
    ...(flags.socketDirectory ?? []).map((path) => ['--socket-directory', realpathSync(path)]),
    ...(flags.hook ?? []).map((hook) => ['--hook', hook]),
  ].flat();
  return [execPath, argv[1] ?? '', 'serve', ...given].map(commandWord).join(' ');
}

function pair(name: string, value: string | undefined, read: (text: string) => string = String): string[][] {
  if (value === undefined) return [];
  return [[`--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`, read(value)]];
}
