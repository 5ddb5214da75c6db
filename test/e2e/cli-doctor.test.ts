import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { Diagnosis } from '../../src/index.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { builtCommand, repository } from '../support/built.ts';
import { mountedFileSystem, scratchDirectory } from '../support/devices.ts';
import { coppice, type Ran } from './command.ts';
import { commandLineDirectory, done } from './session.ts';

const directory = commandLineDirectory();
const boot = ['--fstab', join(directory, 'fstab'), '--unit-directory', directory];

function diagnosis(ran: Ran): Diagnosis {
  return JSON.parse(ran.stdout) as Diagnosis;
}

/** What needs attention; other pools on this machine are those of other tests. */
function trouble(ran: Ran): string[] {
  return diagnosis(ran)
    .findings.filter(({ severity }) => severity === 'warning' || severity === 'error')
    .map(({ severity, id }) => `${severity} ${id}`)
    .filter((each) => !/leftovers\.loop|space\.overcommit/.test(each));
}

describe('coppice doctor', () => {
  test('exits by severity, in words and as JSON', () => {
    using host = mountedFileSystem('btrfs', 5 * 2 ** 30);
    const well = coppice(host.path, 'doctor', ...boot, '--json');
    expect(trouble(well)).toEqual([]);
    expect(diagnosis(well)).toMatchObject({ path: host.path, kind: 'directory' });
    const warned = coppice(host.path, 'doctor', '/proc', ...boot, '--json');
    expect(trouble(warned)).toContain('warning place.path');
    expect(warned.code, warned.stdout).toBe(10);
    const failed = coppice(host.path, 'doctor', '/etc/passwd', ...boot);
    expect(failed.code).toBe(11);
    expect(failed.stderr).toBe('');
    expect(failed.stdout).toContain(
      "Place\n  error: /etc/passwd is not a directory, so it can't be a pool.\n    To do: ",
    );
    expect(failed.stdout).not.toContain('\n  ok: ');
    expect(failed.stdout).toMatch(/\n\n1 error.*; \d+ checks passed \(--all shows them\)\.\n$/);
    expect(coppice(host.path, 'doctor', '/etc/passwd', ...boot, '--all').stdout).toMatch(/\n {2}ok: /);
  });

  test('shows a name that a terminal would take for an order as what it is', () => {
    const own = join(directory, 'a\u001b[31mb');
    mkdirSync(own);
    const { stdout } = coppice(own, 'doctor', ...boot);
    expect(stdout).toContain('\\u001b[31m');
    expect(stdout).not.toContain('\u001b');
  });

  test('says on a fresh host what is missing, and which package has it', () => {
    const { stdout, code } = withoutPrograms(['mkfs.btrfs', 'qemu-img', 'bwrap'], join(directory, 'fresh'));
    expect(code).toBe(11);
    expect(stdout).toContain('error: mkfs.btrfs is not installed; it is needed to make a pool');
    expect(stdout).toContain('apt-get install btrfs-progs');
    expect(stdout).toContain(
      'warning: bwrap is not installed; it is needed to import and export qcow2 images.',
    );
    expect(stdout).toContain('apt-get install bubblewrap');
    const sandboxed = withoutPrograms(['qemu-img'], join(directory, 'fresh'));
    expect(sandboxed.code).toBe(10);
    expect(sandboxed.stdout).toContain("warning: qemu-img is not in /usr/bin, or can't be run there");
    expect(sandboxed.stdout).toContain('apt-get install qemu-utils');
  });
});

test('coppice doctor says that there are no loop devices, and where root may not mount', () => {
  const scratch = scratchDirectory('dev');
  const run = (...command: readonly string[]): Ran => {
    const args = [...command, process.execPath, builtCommand(), 'doctor', join(directory, 'none'), ...boot];
    const [program = '', ...rest] = args;
    const { status, stdout, stderr } = spawnSync(program, rest, {
      encoding: 'utf8',
      env: { PATH: process.env['PATH'] },
      cwd: '/',
    });
    return { code: status, stdout, stderr };
  };
  const script = join(scratch, 'script');
  writeFileSync(script, 'set -e\nmount -t tmpfs tmpfs /dev\nmknod /dev/null c 1 3\nexec "$@"\n');
  const without = run('unshare', '--mount', 'sh', script);
  expect(without.code, without.stderr).toBe(11);
  expect(without.stdout).toContain("/dev/loop-control can't be used: it is not there");
  const contained = run('setpriv', '--bounding-set=-sys_admin', '--inh-caps=-sys_admin');
  expect(contained.code, contained.stderr).toBe(10);
  expect(contained.stdout).toContain('root without the right to mount (CAP_SYS_ADMIN)');
});

describe('coppice doctor as another user', () => {
  /** Where other users may read: a repository in root's home is not for them. */
  const open = scratchDirectory('open');
  const asNobody = (...args: readonly string[]): Ran => {
    const { status, stdout, stderr } = spawnSync(
      'setpriv',
      [
        '--reuid=65534',
        '--regid=65534',
        '--clear-groups',
        join(open, 'node'),
        join(open, 'dist/cli.js'),
        ...args,
      ],
      { encoding: 'utf8', env: { PATH: process.env['PATH'] }, cwd: '/' },
    );
    return { code: status, stdout, stderr };
  };
  beforeAll(() => {
    cpSync(dirname(builtCommand()), join(open, 'dist'), { recursive: true });
    for (const name of ['koffi', '@koromix'])
      if (existsSync(join(repository, 'node_modules', name)))
        cpSync(join(repository, 'node_modules', name), join(open, 'node_modules', name), {
          recursive: true,
          dereference: true,
        });
    cpSync(process.execPath, join(open, 'node'));
    for (let path = open; path !== '/tmp' && path !== '/'; path = dirname(path)) chmodSync(path, 0o755);
  });

  test('names what could not be looked at in a pool', () => {
    const own = join(directory, 'private');
    chmodSync(directory, 0o755);
    done(coppice(own, 'pool', 'create', '--size', '4G'));
    const ran = asNobody('doctor', own, ...boot, '--json');
    expect(ran.stderr).toBe('');
    expect(trouble(ran)).toEqual(['warning rights.unseen']);
    const unseen = diagnosis(ran).findings.find(({ id }) => id === 'rights.unseen');
    expect(unseen?.message).toContain(
      'what is in the pool; what the pool can do; whether disks are nodatacow',
    );
    expect(diagnosis(ran).findings.find(({ id }) => id === 'rights.root')?.message).toContain('need it');
    expect(ran.code).toBe(10);
    done(coppice(own, 'pool', 'destroy', own, '--yes', ...boot));
  });

  test('tries what it may where it may write, says what it may not, and leaves nothing', () => {
    using host = mountedFileSystem('btrfs', 5 * 2 ** 30);
    chmodSync(dirname(host.path), 0o755);
    const refused = asNobody('doctor', host.path, ...boot, '--json');
    expect(trouble(refused)).toEqual(['warning probe.skipped']);
    chmodSync(host.path, 0o777);
    const before = statSync(host.path).ino;
    const ran = asNobody('doctor', host.path, ...boot, '--json');
    expect(trouble(ran)).toEqual([]);
    const ids = (severity: string): string[] =>
      diagnosis(ran)
        .findings.filter((finding) => finding.severity === severity)
        .map(({ id }) => id);
    expect(ids('ok')).toEqual(expect.arrayContaining(['reflink.probe', 'probe.subvolumes', 'probe.lease']));
    expect(ids('info')).toContain('btrfs.user-subvolumes');
    runProgram('mount', ['-o', 'remount,user_subvol_rm_allowed', '--', host.path]);
    expect(asNobody('doctor', host.path, ...boot).stdout).not.toContain('user_subvol_rm_allowed');
    expect(readdirSync(host.path)).toEqual([]);
    expect(statSync(host.path).ino).toBe(before);
  });
});

/** Runs the command where these programs are not there, for this process alone: an overlay with marks of deletion over them. */
function withoutPrograms(programs: readonly string[], path: string): Ran {
  const scratch = scratchDirectory('hidden');
  runProgram('mount', ['-t', 'tmpfs', 'tmpfs', scratch]);
  try {
    const script = ['set -e'];
    for (const folder of ['/usr/bin', '/usr/sbin']) {
      const [upper, work] = ['upper', 'work'].map((name) => join(scratch, folder.replaceAll('/', '-'), name));
      for (const each of [upper, work]) mkdirSync(each ?? '', { recursive: true });
      for (const program of programs)
        if (existsSync(join(folder, program)))
          execFileSync('mknod', [join(upper ?? '', program), 'c', '0', '0']);
      script.push(
        `mount -t overlay overlay -o lowerdir=${folder},upperdir=${upper},workdir=${work} ${folder}`,
      );
    }
    writeFileSync(join(scratch, 'script'), `${script.join('\n')}\nexec "$@"\n`);
    const { status, stdout, stderr } = spawnSync(
      'unshare',
      ['--mount', 'sh', join(scratch, 'script'), process.execPath, builtCommand(), 'doctor', path, ...boot],
      { encoding: 'utf8', env: { PATH: process.env['PATH'] }, cwd: '/' },
    );
    return { code: status, stdout, stderr };
  } finally {
    runProgram('umount', ['--', scratch]);
  }
}
