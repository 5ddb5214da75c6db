import { readPrivateFile } from '../private-file.ts';

export interface Access {
  readonly user?: string;
  readonly password?: string;
  readonly socket?: string;
}

const sections: readonly string[] = ['client', 'client-server', 'client-mariadb', 'mysql', 'mariadb'];

/**
 * How to reach a server, from a file as its own programs read it: the later of two counts. Other files that it includes are not read.
 * @throws CoppiceError where it is not private
 */
export function readDefaultsFile(path: string): Access {
  const found: Record<string, string> = {};
  let isOurs = false;
  for (const line of readPrivateFile(path, 'the defaults file').split('\n')) {
    const section = /^\s*\[([^\]]*)\]/.exec(line)?.[1];
    if (section !== undefined) isOurs = sections.includes(section.trim());
    const [, key, value] = /^\s*(user|password|socket)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (isOurs && key !== undefined && value !== undefined) found[key] = unquoted(value);
  }
  return found;
}

function unquoted(value: string): string {
  const inside = /^(["'])(.*)\1$/.exec(value)?.[2];
  if (inside === undefined) return value.replace(/\s+#.*$/, '');
  return inside.replace(/\\(.)/g, '$1');
}
