import { constants, openSync, readdirSync, readFileSync, statfsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CoppiceError } from '../model/errors.ts';
import { Descriptor, descriptorPath } from './files.ts';
import { hasErrno } from './system-calls.ts';

/**
 * A cgroup, all processes of which can be frozen by one word to the kernel: those in the cgroups below it, and those that they start
 * meanwhile, too. Of either version: on hosts with both, systemd keeps the services in that of the second.
 */
export interface CgroupFreezer extends Disposable {
  /** The open directory: it stays the same cgroup when another one gets its name. */
  readonly fd: number;
  readonly version: 1 | 2;
  /** Tells it from every other of the version, as long as it is there. */
  readonly inode: bigint;
  freeze(): void;
  thaw(): void;
  /** Whether it was told to freeze by itself, not by one above it. */
  isTold(): boolean;
  /** Whether all its processes have come to rest. */
  isFrozen(): boolean;
  /** Numbers of all processes in it and below it. */
  processes(): number[];
}

const cgroup2Magic = 0x63677270;
const cgroupMagic = 0x27e0eb;

/** @throws CoppiceError invalid_argument where it is no cgroup that could be frozen; not_found */
export function openCgroupFreezer(path: string): CgroupFreezer {
  const directory = openDirectory(path);
  try {
    return fromDescriptor(directory, path);
  } catch (error) {
    directory[Symbol.dispose]();
    throw error;
  }
}

/** The same from a descriptor that was inherited. */
export function inheritedCgroupFreezer(fd: number): CgroupFreezer {
  return fromDescriptor(new Descriptor(fd), 'the cgroup');
}

function openDirectory(path: string): Descriptor {
  try {
    const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants;
    return new Descriptor(openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR'))
      throw new CoppiceError('not_found', `There is no cgroup ${path}; is what should be frozen running?`, {
        cause: error,
      });
    throw error;
  }
}

function fromDescriptor(directory: Descriptor, path: string): CgroupFreezer {
  const real = descriptorPath(directory.fd);
  const { type } = statfsSync(real);
  const entries = new Set(readdirSync(real));
  const version = type === cgroup2Magic ? 2 : type === cgroupMagic ? 1 : undefined;
  if (version === undefined)
    throw new CoppiceError('invalid_argument', `${path} is not the directory of a cgroup.`);
  const file = version === 2 ? 'cgroup.freeze' : 'freezer.state';
  if (!entries.has(file)) {
    throw new CoppiceError(
      'invalid_argument',
      `The cgroup ${path} can't be frozen: it has no ${file}, as the topmost one and those of other controllers.`,
    );
  }
  const read = (name: string): string => readFileSync(join(real, name), 'latin1');
  const write = (text: string): void => writeFileSync(join(real, file), text, { flag: 'r+' });
  return {
    fd: directory.fd,
    version,
    inode: statSync(`${real}/.`, { bigint: true }).ino,
    freeze: () => write(version === 2 ? '1' : 'FROZEN'),
    thaw: () => write(version === 2 ? '0' : 'THAWED'),
    isTold: () => (version === 2 ? read(file) : read('freezer.self_freezing')).trim() === '1',
    isFrozen: () =>
      version === 2 ? /^frozen 1$/m.test(read('cgroup.events')) : read(file).trim() === 'FROZEN',
    processes: () => processesBelow(real),
    [Symbol.dispose]: () => directory[Symbol.dispose](),
  };
}

function processesBelow(path: string): number[] {
  const own = readFileSync(join(path, 'cgroup.procs'), 'latin1').split('\n').filter(Boolean).map(Number);
  const below = readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return [...own, ...below.flatMap(({ name }) => belowIfThere(join(path, name)))];
}

function belowIfThere(path: string): number[] {
  try {
    return processesBelow(path);
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENODEV')) return []; // it has been removed meanwhile
    if (hasErrno(error, 'EOPNOTSUPP')) return []; // of threads, whose processes stand above
    throw error;
  }
}
