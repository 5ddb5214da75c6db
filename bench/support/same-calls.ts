import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { runDirectory } from '../../test/support/run-directory.ts';

/** What Node's own machinery does in any thread: waking, waiting, memory, clocks. */
const runtimeCalls =
  /^(futex|epoll_\w+|mmap|munmap|mprotect|madvise|brk|sched_yield|rt_sig\w+|getrusage|clock_\w+|rseq|set_robust_list|prctl)$/;

/**
 * Proves that the C program makes the system calls of the library: traces both, and compares what each does for one clone, call by
 * call in order, with descriptors, ids and names of the run replaced by what they stand for. What clones share, the look at the
 * host and the opening of the template, is compared for itself: both do it anew when some time has passed, so how often depends
 * on how slow the trace makes them.
 */
export function requireSameCalls(poolPath: string, limit: string, limitArguments: readonly string[]): void {
  const script = join(import.meta.dirname, 'clone-once.ts');
  const ours = callsOfOneClone([process.execPath, script, poolPath, 'trace-a'], 'trace-a');
  const theirs = callsOfOneClone([limit, ...limitArguments], 'trace-b', 'trace-b 3\n');
  for (const part of ['shared', 'own'] as const) requireEqual(ours[part], theirs[part]);
}

function requireEqual(ours: readonly string[], theirs: readonly string[]): void {
  if (ours.join('\n') === theirs.join('\n')) return;
  const first = ours.findIndex((call, index) => call !== theirs[index]);
  throw new Error(
    `bench/limit.c no longer makes the system calls of the library. Call ${first + 1} of a clone is there\n  ${theirs[first] ?? 'nothing'}\nand here\n  ${ours[first] ?? 'nothing'}\nAll calls of the library:\n  ${ours.join('\n  ')}`,
  );
}

interface Calls {
  /** What it takes to open the template, once. */
  readonly shared: readonly string[];
  /** What it takes from naming the first clone to naming the second, but for the shared calls. */
  readonly own: readonly string[];
}

/** @param input what the command reads from its standard input */
function callsOfOneClone(command: readonly string[], prefix: string, input = ''): Calls {
  const file = join(runDirectory(), `${prefix}.strace`);
  const options = ['-f', '-qq', '-e', 'signal=none', '-s', '64', '-o', file, '--'];
  execFileSync('strace', [...options, ...command], { input, stdio: ['pipe', 'ignore', 'inherit'] });
  const lines = readFileSync(file, 'utf8').split('\n');
  const named = lines.find((line) => line.includes(`"${prefix}-1"`)) ?? '';
  const thread = /^\d+ /.exec(named)?.[0] ?? 'no thread';
  const calls = joined(
    lines.filter((line) => line.startsWith(thread)).map((line) => line.slice(thread.length).trim()),
  ).filter((line) => !runtimeCalls.test(line.slice(0, line.indexOf('('))) && !isWakeUp(line));
  const [first, second] = ['-1"', '-2"'].map((end) => calls.findIndex((call) => call.includes(prefix + end)));
  const isShared = sharedCalls(calls);
  const opening = calls.findIndex((call) => call.includes('"template"'));
  const look = calls.slice(0, opening).findLastIndex((call) => call.startsWith('fstatfs('));
  const closing = calls.findIndex(
    (call, index) => index > look && isShared[index] && call.startsWith('close('),
  );
  return {
    shared: comparable(
      calls.slice(look, closing).filter((_, index) => isShared[look + index]),
      prefix,
    ),
    own: comparable(
      calls.slice(first, second).filter((_, index) => !isShared[(first ?? 0) + index]),
      prefix,
    ),
  };
}

/** Which of the calls look at the host, or open, look at or close the template and its disk. */
function sharedCalls(calls: readonly string[]): boolean[] {
  const descriptors = new Set<string>();
  return calls.map((call) => {
    const on = /^\w+\((?:"\/proc\/self\/fd\/)?(\d+)/.exec(call)?.[1] ?? '';
    const opened = /^openat2\((?!.*O_CREAT).*("template"|"data\/disk\.raw").* = (\d+)$/.exec(call)?.[2];
    if (opened !== undefined) descriptors.add(opened);
    const isShared = call.startsWith('fstatfs(') || call.includes('"template"') || descriptors.has(on);
    if (call.startsWith('close(')) descriptors.delete(on);
    return isShared || opened !== undefined;
  });
}

function comparable(calls: readonly string[], prefix: string): string[] {
  return nameDescriptors(calls.map((call) => normalize(call, prefix)));
}

const unfinished = ' <unfinished ...>';

/** strace splits a call during which another thread made one. */
function joined(lines: readonly string[]): string[] {
  const calls: string[] = [];
  let begun: string | undefined;
  for (const line of lines) {
    const rest = /^<\.\.\. \w+ resumed>(.*)$/.exec(line)?.[1];
    if (rest === undefined) {
      if (line.endsWith(unfinished)) begun = line.slice(0, -unfinished.length);
      else calls.push(line);
    } else if (begun !== undefined) {
      calls.push(begun + rest);
      begun = undefined;
    }
  }
  return calls;
}

/** Threads wake one another by eight bytes through an eventfd. */
function isWakeUp(call: string): boolean {
  return /^(write|read)\(\d+, ?"\\1\\0\\0\\0\\0\\0\\0\\0", (8|1024)\)/.test(call);
}

/** What differs between any two clones becomes a word: names, ids, answers, the text of metadata (but not its length). */
function normalize(call: string, prefix: string): string {
  return call
    .replaceAll(prefix, 'NAME')
    .replaceAll(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, 'ID')
    .replace(/^(statx\(.*\bSTATX_(?:ALL|BASIC_STATS)), \{.*$/, '$1)')
    .replace(/^(fstatfs\(\d+), .*$/, '$1)')
    .replace(/^(fgetxattr\(\d+, "[^"]*"), .*, (\d+)\) += .*$/, '$1, $2)')
    .replace(/^(fsetxattr\(\d+, "[^"]*"), .*, (\d+), 0\)(.*)$/, '$1, $2 bytes)$3')
    .replace(/^(lgetxattr\("\/proc\/self\/fd\/)\d+(\/\w+", "[^"]*"), .*, (\d+)\) += .*$/, '$1N$2, $3)')
    .replace(/^(lsetxattr\("\/proc\/self\/fd\/)\d+(.*), (\d+), 0\)(.*)$/, '$1N$2, $3 bytes)$4')
    .replace(/^(ioctl\(.*SUBVOL_CREATE\w*), .*\)( += .*)$/, '$1)$2');
}

/** Numbers descriptors by the order in which they are first seen or opened, and drops the results. */
function nameDescriptors(calls: readonly string[]): string[] {
  const names = new Map<string, string>();
  let count = 0;
  const nameOf = (descriptor: string): string => {
    const name = names.get(descriptor) ?? `fd${++count}`;
    names.set(descriptor, name);
    return name;
  };
  return calls.map((call) => {
    const result = / += (-?\d+)/.exec(call)?.[1];
    const named = call
      .replace(/ += .*$/, '')
      .replace(/^(\w+\()(\d+)/, (_, begin: string, fd: string) => begin + nameOf(fd))
      .replace(/^(renameat2\(\w+, "[^"]*", )(\d+)/, (_, begin: string, fd: string) => begin + nameOf(fd))
      .replace(/(FICLONE, )(\d+)/, (_, begin: string, fd: string) => begin + nameOf(fd));
    if (call.startsWith('close(')) names.delete(/\d+/.exec(call)?.[0] ?? '');
    if (call.startsWith('openat2(') && result !== undefined) names.set(result, `fd${++count}`);
    return named;
  });
}
