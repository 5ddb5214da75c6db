/** What a directory of an application has in it that means nothing in a copy of it. */
export interface Stale {
  /** From the root of the volume. */
  readonly directory: string;
  readonly isStale: (name: string) => boolean;
}

/** By the kind of application; whoever knows nothing of it keeps everything. */
const stale: Readonly<Record<string, (name: string) => boolean>> = {
  // The number of the server's process, which another may have by now; and its sockets, where they are in the data directory.
  postgres: (name) => name === 'postmaster.pid' || /^\.s\.PGSQL\.\d+(\.lock)?$/.test(name),
  mysql: (name) => /\.(pid|sock|sock\.lock)$/.test(name),
  redis: (name) => /\.(pid|sock)$/.test(name),
};

/** @param value of the setting `quiesce.NAME`; undefined where it says no directory in the volume */
export function staleNames(name: string, value: string): Stale | undefined {
  const isStale = stale[name.split('.', 1)[0] ?? ''];
  const [first = ''] = value.split(',', 1);
  const isPath =
    first !== '' && !first.includes('=') && !first.startsWith('/') && !first.split('/').includes('..');
  return isStale && isPath ? { directory: first, isStale } : undefined;
}
