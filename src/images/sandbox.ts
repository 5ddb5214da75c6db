import { type StreamOptions, streamProgram } from '../linux/programs.ts';

/**
 * Runs qemu-img where a hostile image can do little: it sees the programs and libraries of the host, but no other file, no
 * network, no other process; it has no rights but to open the descriptors it was given (3, 4, ...); its memory and its time are
 * limited; and it dies with us. So whatever name an image contains, there is nothing under that name.
 * @param program `true` only tries whether there can be a sandbox
 */
export function runInSandbox(
  args: readonly string[],
  descriptors: readonly number[],
  options: Omit<StreamOptions, 'descriptors'>,
  program: 'qemu-img' | 'true' = 'qemu-img',
): ReturnType<typeof streamProgram> {
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
