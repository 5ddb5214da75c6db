import { readdirSync, readFileSync, statSync } from 'node:fs';
import { commandOf, type FoundHolder, loopsOnDevices } from './holders.ts';
import { hasErrno } from './libc.ts';

/**
 * Who uses anything that lies on one of these devices, such as a subvolume of btrfs, which has a number of its own: processes by
 * their descriptors, working and root directories, programs and memory maps, and loop devices by their backing file; by whatever
 * path they came to it. Not this process. `complete` is false when some could not be looked into, as without root.
 * @param wanted the path to name for each device
 * @param fileSystem that they are in, as mountinfo names it, by which memory maps tell where they are from
 */
export function findUsersOfDevices(
  wanted: ReadonlyMap<bigint, string>,
  fileSystem: string,
): { holders: FoundHolder[]; complete: boolean } {
  const holders = loopsOnDevices(wanted);
  let complete = true;
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    try {
      const path = usedBy(pid, wanted, fileSystem);
      if (path !== undefined) holders.push({ pid: Number(pid), command: commandOf(pid), path });
    } catch (error) {
      if (hasErrno(error, 'EACCES', 'EPERM')) complete &&= pid === init;
      else if (!hasErrno(error, 'ENOENT', 'ESRCH')) throw error; // the process has ended meanwhile
    }
  }
  return { holders, complete };
}

/** Some sandboxes hide it from root, too; it keeps nothing open in anybody's data. */
const init = '1';

function usedBy(pid: string, wanted: ReadonlyMap<bigint, string>, fileSystem: string): string | undefined {
  const directory = `/proc/${pid}`;
  for (const link of ['cwd', 'root', 'exe', ...inside(`${directory}/fd`, 'fd')]) {
    const path = deviceOf(`${directory}/${link}`, wanted);
    if (path !== undefined) return path;
  }
  for (const range of mappedFrom(pid, fileSystem)) {
    const path = deviceOf(`${directory}/map_files/${range}`, wanted);
    if (path !== undefined) return path;
  }
  return undefined;
}

function inside(directory: string, name: string): string[] {
  return readdirSync(directory).map((each) => `${name}/${each}`);
}

/** Links of /proc lead to what is open, also where its name is gone. */
function deviceOf(link: string, wanted: ReadonlyMap<bigint, string>): string | undefined {
  try {
    return wanted.get(statSync(link, { bigint: true }).dev);
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ESRCH', 'ENXIO', 'ELOOP')) return undefined; // closed meanwhile, or a thread of the kernel
    throw error;
  }
}

/** The address ranges of a process that are mapped from a file system. Its subvolumes can't be told apart here. */
function mappedFrom(pid: string, fileSystem: string): string[] {
  const device = fileSystem
    .split(':')
    .map((part) => Number(part).toString(16).padStart(2, '0'))
    .join(':');
  const lines = readFileSync(`/proc/${pid}/maps`, 'latin1').split('\n');
  return lines.flatMap((line) => {
    const [range = '', , , from] = line.split(' ', 4);
    return from === device ? [range] : [];
  });
}
