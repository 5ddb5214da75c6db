import { lastLine, type StreamOptions, streamProgram } from '../linux/programs.ts';
import { CoppiceError } from '../model/errors.ts';

type Ran = Awaited<ReturnType<typeof streamProgram>>;
type SandboxOptions = Omit<StreamOptions, 'descriptors'>;

/**
 * Runs qemu-img where a hostile image can do little: it sees the programs and libraries of the host, but no other file, no
 * network, no other process; it has no rights but to open the descriptors it was given (3, 4, ...); its memory and its time are
 * limited; and it dies with us. So whatever name an image contains, there is nothing under that name.
 * @throws CoppiceError unsupported when there can be no sandbox here
 */
export async function runInSandbox(
  args: readonly string[],
  descriptors: readonly number[],
  options: SandboxOptions,
): Promise<Ran> {
  const ran = await run('qemu-img', args, descriptors, options);
  // What qemu-img says begins with its own name.
  if (ran.code === 0 || !ran.errors.startsWith('bwrap: ')) return ran;
  throw new CoppiceError(
    'unsupported',
    `The sandbox in which images are read can't be used. bwrap said: ${lastLine(ran.errors)}. "coppice doctor" says what to do.`,
  );
}

/** Tries whether there can be a sandbox, and whether a program is there in it. */
export function trySandbox(program: 'qemu-img' | 'true'): Promise<Ran> {
  return run(program, ['--version'], [], {});
}

function run(
  program: 'qemu-img' | 'true',
  args: readonly string[],
  descriptors: readonly number[],
  options: SandboxOptions,
): Promise<Ran> {
  return streamProgram('prlimit', [...limits, 'bwrap', ...isolation, program, ...args], {
    ...options,
    descriptors,
  });
}

const limits = ['--as=4294967296', '--cpu=3600', '--core=0', '--'];

const isolation = [
  '--unshare-all',
  '--die-with-parent',
  // No --new-session: it would leave the group that is killed on cancellation, and that has no terminal either.
  '--cap-drop',
  'ALL',
  // A source that belongs to somebody else is opened again through its descriptor, and the file's mode is looked at once more.
  '--cap-add',
  'CAP_DAC_OVERRIDE',
  '--ro-bind',
  '/usr',
  '/usr',
  '--symlink',
  'usr/lib',
  '/lib',
  '--symlink',
  'usr/lib64',
  '/lib64',
  '--proc',
  '/proc',
  '--dev',
  '/dev',
  '--clearenv',
  '--setenv',
  'PATH',
  '/usr/bin',
  '--setenv',
  'LC_ALL',
  'C',
  '--',
];
