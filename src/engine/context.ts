import { openSync } from 'node:fs';
import type { Backend } from '../drivers/backend.ts';
import { backendAt } from '../drivers/backends.ts';
import type { Driver } from '../drivers/driver.ts';
import { storeOf } from '../drivers/stores.ts';
import { Descriptor } from '../linux/files.ts';
import { backingDirectory, loopBackingFile, mountOf } from '../linux/mounts.ts';
import { hasErrno } from '../linux/system-calls.ts';
import { CoppiceError } from '../model/errors.ts';
import type { PoolMetadata } from '../model/metadata.ts';
import { AuditLog, type AuditSetup } from './audit.ts';
import { Turn } from './turn.ts';

/** What every operation works with: an open, verified pool, as one thread sees it. */
export interface Context extends Disposable {
  readonly path: string;
  readonly root: number;
  readonly metadata: PoolMetadata;
  readonly driver: Driver;
  /** The open directory of the file under a loop pool, whose file system must not fill up. */
  readonly host: { readonly fd: number; readonly path: string } | undefined;
  /** Whether to wait in the kernel for a lock (a process with nothing else to do) or to fail with `busy`. */
  readonly wait: boolean;
  readonly turn: Turn;
  /** Where changes are told; undefined where nobody wants to know. */
  readonly audit: AuditLog | undefined;
}

/** What a worker thread needs to work on a pool that the main thread has opened and verified. */
export interface PoolHandle {
  readonly path: string;
  /** The open root directory; it pins the mount, so that what was verified stays true. */
  readonly root: number;
  readonly metadata: PoolMetadata;
  readonly audit?: AuditSetup;
}

export function createContext(handle: PoolHandle, wait: boolean): Context {
  using opened = new DisposableStack();
  const store = storeOf(handle.path);
  const opener = store ?? backendOf(handle);
  const driver = opened.use(opener.open(handle.root, handle.path));
  const host = store ? undefined : openHost(handle.path);
  if (host) opened.use(host.directory);
  const turn = new Turn();
  opened.defer(() => turn.end());
  const audit =
    handle.audit && opened.use(new AuditLog(handle.audit, { pool: handle.path, poolId: handle.metadata.id }));
  const owned = opened.move();
  return {
    ...handle,
    driver,
    wait,
    host: host && { fd: host.directory.fd, path: host.path },
    turn,
    audit,
    [Symbol.dispose]: () => owned.dispose(),
  };
}

function backendOf({ root, path }: PoolHandle): Backend {
  const backend = backendAt(root);
  if (backend) return backend;
  throw new CoppiceError('unsupported', `${path} lies on a file system that pools can't be on.`);
}

/** Nothing where others may not look: then the space of the host is not watched. */
function openHost(poolPath: string): { readonly directory: Descriptor; readonly path: string } | undefined {
  const path = hostDirectoryOf(poolPath);
  if (path === undefined) return undefined;
  try {
    // Only to ask for its space, which takes no right to read it.
    const O_PATH = 0o10000000;
    return { directory: new Descriptor(openSync(path, O_PATH)), path };
  } catch (error) {
    if (hasErrno(error, 'EACCES', 'EPERM', 'ENOENT')) return undefined;
    throw error;
  }
}

/** The directory of the file under a loop pool; undefined for a pool on a device, or when the file can't be found. */
function hostDirectoryOf(poolPath: string): string | undefined {
  const mount = mountOf(poolPath);
  const file = mount && loopBackingFile(mount.source);
  return file === undefined ? undefined : backingDirectory(file);
}
