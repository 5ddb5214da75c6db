import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { getPriority } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { connectCoppice, ImageFormat, JobState } from '../../src/client/index.ts';
import { commandWord } from '../../src/server/install/quoting.ts';
import { capabilities } from '../../src/server/install/units.ts';
import { repository } from '../support/built.ts';
import { startDaemon } from '../support/daemon-process.ts';
import { scratchDirectory } from '../support/devices.ts';
import { skippedWithout } from '../support/needs.ts';
import { makeTestPool } from '../support/test-pool.ts';

interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function install(directory: string, ...flags: readonly string[]): Ran {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(repository, 'src/cli/main.ts'), ...['serve', '--install', '--unit-directory', directory], ...flags],
    { encoding: 'utf8', cwd: '/', env: { PATH: process.env['PATH'], COPPICE_POOL: '/srv/vms' } },
  );
  return { code: status, stdout, stderr };
}

const files = ['coppice.logrotate', 'coppice.service', 'coppice.socket'];
const pathological = `/srv/a "b" \\c\\ %h $HOME ; 'd'/vms`;

describe('coppice serve --install', () => {
  test('writes a socket, a service and the rotation of the log, and says what to do next', () => {
    const directory = scratchDirectory('units');
    const images = scratchDirectory('images');
    const { code, stdout, stderr } = install(
      directory,
      ...['--group', 'adm', '--socket', '/run/elsewhere/c.sock', '--image-directory', images],
      ...['--audit-log', '/var/log/other/audit.jsonl', '--socket-scope', 'read'],
    );
    expect([code, stderr]).toEqual([0, '']);
    expect(readdirSync(directory).sort()).toEqual(files);
    for (const file of files) expect(stdout).toContain(`Wrote ${join(directory, file)}\n`);
    expect(stdout).toContain('systemctl enable --now coppice.socket\n');
    expect(linesOf(directory, 'coppice.socket')).toEqual(
      expect.arrayContaining([
        'ListenStream=/run/elsewhere/c.sock',
        'SocketMode=0660',
        'SocketGroup=adm',
        'WantedBy=sockets.target',
      ]),
    );
    const service = linesOf(directory, 'coppice.service');
    const exec = service.find((line) => line.startsWith('ExecStart='));
    expect(exec).toMatch(
      / serve --pool default=\/srv\/vms --socket-scope read --audit-log \/var\/log\/other\/audit\.jsonl --image-directory \S+$/,
    );
    // It is ordered behind the mounts that a pool can lie on, and needs none of them.
    expect(service).toEqual(
      expect.arrayContaining(['Type=notify', 'After=srv.mount', 'After=srv-vms.mount']),
    );
    expect(service.join('\n')).not.toMatch(/^(RequiresMountsFor|BindsTo|Wants=srv|Requires=srv)/m);
    expect(readFileSync(join(directory, 'coppice.logrotate'), 'utf8')).toContain(
      '"/var/log/other/audit.jsonl" {',
    );
  });

  test('hands every flag on that is not its own', () => {
    const directory = scratchDirectory('units');
    const given = scratchDirectory('given');
    const values: Readonly<Record<string, string>> = {
      pool: `vms=${given}`,
      'socket-scope': 'read',
      listen: '127.0.0.1:443',
      'tls-cert': join(given, 'cert.pem'),
      'tls-key': join(given, 'key.pem'),
      'tls-client-ca': join(given, 'ca.pem'),
      tokens: join(given, 'tokens.json'),
      'image-directory': given,
      'socket-directory': given,
      hook: 'true=/usr/bin/true',
      state: join(given, 'state'),
      'audit-log': join(given, 'audit.jsonl'),
      'log-level': 'debug',
    };
    // The socket and its group are in the unit of the socket.
    const own = ['help', 'install', 'unit-directory', 'socket', 'group'];
    const help = spawnSync(process.execPath, [join(repository, 'src/cli/main.ts'), 'serve', '--help'], {
      encoding: 'utf8',
    });
    const flags = [...help.stdout.matchAll(/^ +(?:-h )?\s*\[?--([a-z-]+)\]?/gm)].map(
      ([, flag]) => flag ?? '',
    );
    expect(new Set([...Object.keys(values), ...own])).toEqual(new Set(flags));
    const pairs = Object.entries(values).map(([flag, value]) => [`--${flag}`, value]);
    expect(install(directory, ...pairs.flat())).toMatchObject({ code: 0, stderr: '' });
    const service = linesOf(directory, 'coppice.service');
    const exec = service.find((line) => line.startsWith('ExecStart=')) ?? '';
    for (const pair of pairs) expect(exec).toContain(` ${pair.join(' ')}`);
    expect(service.find((line) => line.startsWith('CapabilityBoundingSet='))).toContain(
      ' CAP_NET_BIND_SERVICE',
    );
  });

  test('makes no mount namespace, and nothing else that the daemon could not live with', () => {
    const directory = scratchDirectory('units');
    install(directory);
    const names = linesOf(directory, 'coppice.service').map((line) => line.split('=', 1)[0] ?? '');
    expect(
      names.filter((name) =>
        /^(Protect|Private|ReadOnly|ReadWrite|Inaccessible|TemporaryFile|Bind|Mount|Root|ProcSubset|Dynamic|MemoryDeny|RestrictNamespaces|Device)/.test(
          name,
        ),
      ),
    ).toEqual([]);
    expect(names).toEqual(
      expect.arrayContaining(['NoNewPrivileges', 'CapabilityBoundingSet', 'WatchdogSec']),
    );
  });

  test('replaces what it wrote when it is run again, and says what was there already', () => {
    const directory = scratchDirectory('units');
    install(directory);
    const before = lstatSync(join(directory, 'coppice.socket')).ino;
    const { code, stdout } = install(directory, '--log-level', 'debug');
    expect(code).toBe(0);
    expect(stdout).toContain(`Wrote ${join(directory, 'coppice.service')}\n`);
    expect(stdout).toContain(`Already in ${join(directory, 'coppice.socket')}\n`);
    expect(readFileSync(join(directory, 'coppice.service'), 'utf8')).toContain('--log-level debug');
    expect(lstatSync(join(directory, 'coppice.socket')).ino).toBe(before);
    expect(readdirSync(directory).sort()).toEqual(files);
  });

  test.each(files)('writes nothing at all where %s is somebody else’s', (file) => {
    const directory = scratchDirectory('units');
    writeFileSync(join(directory, file), '[Unit]\nDescription=Mine\n');
    const { code, stdout, stderr } = install(directory);
    expect([code, stdout]).toEqual([4, '']);
    expect(stderr).toContain(`${join(directory, file)} was not written by "coppice serve --install"`);
    expect(readdirSync(directory)).toEqual([file]);
    expect(readFileSync(join(directory, file), 'utf8')).toBe('[Unit]\nDescription=Mine\n');
  });

  test('follows no link: a unit that was masked stays so', () => {
    const directory = scratchDirectory('units');
    symlinkSync('/dev/null', join(directory, 'coppice.service'));
    expect(install(directory).code).toBe(4);
    expect(lstatSync(join(directory, 'coppice.service')).isSymbolicLink()).toBe(true);
  });

  test.each([
    [['--listen', '0.0.0.0:7443'], 'give --tls-cert and --tls-key'],
    [['--log-level', 'loud'], 'is none of debug'],
    [['--group', 'no-such-group-here'], 'groupadd --system'],
    [['--pool', 'a=/srv/line\nbreak'], 'a line break or a control character'],
    [['--audit-log', '/var/log/*.jsonl'], "can't be said to logrotate"],
  ])('refuses %j before it writes anything', (flags, said) => {
    const directory = scratchDirectory('units');
    const { code, stderr } = install(directory, ...flags);
    expect(code).toBe(2);
    expect(stderr).toContain(said);
    expect(readdirSync(directory)).toEqual([]);
  });

  const withoutAnalyze = skippedWithout('/usr/bin/systemd-analyze');
  test.skipIf(withoutAnalyze !== '')(`systemd finds nothing wrong with the units${withoutAnalyze}`, () => {
    const directory = scratchDirectory('units');
    mkdirSync(join(directory, 'pem'));
    install(
      directory,
      ...['--pool', `a=${pathological}`, '--pool', 'b=zfs:tank/vms', '--state', '/srv/a state/%h'],
      ...['--listen', '[::]:7443', '--tls-cert', '/etc/a cert.pem', '--tls-key', '/etc/key.pem'],
    );
    const verify = spawnSync(
      'systemd-analyze',
      ['verify', '--man=no', join(directory, 'coppice.socket'), join(directory, 'coppice.service')],
      { encoding: 'utf8' },
    );
    expect([verify.status, verify.stdout, verify.stderr]).toEqual([0, '', '']);
    // It does look: a line that it does not know is found.
    const service = join(directory, 'coppice.service');
    writeFileSync(service, `${readFileSync(service, 'utf8')}NoSuchLine=1\n`);
    expect(
      spawnSync('systemd-analyze', ['verify', '--man=no', service], { encoding: 'utf8' }).stderr,
    ).toContain('NoSuchLine');
  });

  const withoutLogrotate = skippedHere('/usr/sbin/logrotate');
  test.skipIf(withoutLogrotate !== '')(`logrotate understands its part${withoutLogrotate}`, () => {
    const directory = scratchDirectory('units');
    install(directory, '--audit-log', join(directory, 'log', 'audit.jsonl'));
    const { status } = spawnSync('/usr/sbin/logrotate', ['--debug', join(directory, 'coppice.logrotate')]);
    expect(status).toBe(0);
  });

  const shared = sharedLibrary();
  const withoutShared =
    shared === undefined ? ' (skipped: there is no libsystemd-shared of 252 or newer)' : '';
  test.skipIf(shared === undefined)(
    `systemd reads each word of the command as it was given${withoutShared}`,
    () => {
      const read = wordReader(shared ?? '');
      const word = fc.string({ minLength: 1, unit: 'grapheme' }).filter((text) => !/\p{Cc}/u.test(text));
      fc.assert(
        fc.property(
          fc.array(fc.oneof(word, fc.constantFrom(pathological, ';', '$$', '%%', "'", '\\'))),
          (words) => {
            expect(read(words.map(commandWord).join(' '))).toEqual(words);
          },
        ),
      );
    },
  );
});

const withoutTools = skippedWithout('/usr/bin/setpriv', '/usr/bin/bwrap', '/usr/bin/qemu-img');
test.skipIf(withoutTools !== '').each(['btrfs', 'xfs'] as const)(
  `the daemon lives with the rights that the service leaves it on %s: disks, snapshots, images in the sandbox, a larger pool${withoutTools}`,
  async (driver) => {
    await using home = await makeTestPool({ driver });
    const directory = scratchDirectory('rights');
    const socket = join(directory, 'coppice.sock');
    const image = join(directory, 'image.qcow2');
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', image, '8M']);
    const kept = capabilities.map((name) => `+${name.replace('CAP_', '').toLowerCase()}`).join(',');
    await using daemon = startDaemon(
      [
        ...['--pool', `vms=${home.path}`, '--state', join(directory, 'state'), '--socket', socket],
        ...['--audit-log', join(directory, 'audit.jsonl')],
      ],
      { through: ['setpriv', '--no-new-privs', `--bounding-set=-all,${kept}`, '--inh-caps=-all'] },
    );
    await daemon.said(/"pool available"/);
    expect(readFileSync(`/proc/${daemon.pid}/status`, 'utf8')).toMatch(/^NoNewPrivs:\t1$/m);
    expect(getPriority(daemon.pid)).toBe(-5);
    using client = connectCoppice({ socket });
    const { volumes, jobs } = client;
    const ended = async (name: string): Promise<JobState> => {
      let state: JobState = JobState.UNSPECIFIED;
      for await (const job of jobs.watchJob({ name })) {
        expect(job.error?.message).toBeUndefined();
        state = job.state;
      }
      return state;
    };
    const parent = 'pools/vms';
    const job = await jobs.importTemplate({ parent, volumeId: 'debian', sourcePath: image });
    expect(await ended(job.name)).toBe(JobState.SUCCEEDED);
    await volumes.clone({ source: 'pools/vms/volumes/debian', volumeId: 'vm-1' });
    await volumes.snapshot({ parent: 'pools/vms/volumes/vm-1', snapshotId: 'before' });
    await volumes.rollback({ name: 'pools/vms/volumes/vm-1/snapshots/before' });
    const target = join(directory, 'exported.qcow2');
    const exported = await jobs.exportVolume({
      name: 'pools/vms/volumes/vm-1',
      targetPath: target,
      format: ImageFormat.QCOW2,
    });
    expect(await ended(exported.name)).toBe(JobState.SUCCEEDED);
    expect(existsSync(target)).toBe(true);
    await volumes.deleteVolume({ name: 'pools/vms/volumes/vm-1', withSnapshots: true });
    await client.pools.growPool({ name: parent, sizeBytes: BigInt(9 * 2 ** 30) });
    client.close();
    daemon.process.kill('SIGTERM');
    expect(await daemon.ended).toBe(0);
  },
);

function linesOf(directory: string, file: string): string[] {
  return readFileSync(join(directory, file), 'utf8').split('\n');
}

/** Not everywhere, also not in CI. */
function skippedHere(file: string): string {
  return existsSync(file) ? '' : ` (skipped: there is no ${file})`;
}

function sharedLibrary(): string | undefined {
  const directories = [
    '/usr/lib/x86_64-linux-gnu/systemd',
    '/usr/lib/aarch64-linux-gnu/systemd',
    '/usr/lib/systemd',
  ];
  return directories
    .filter((directory) => existsSync(directory))
    .flatMap((directory) => readdirSync(directory).map((name) => join(directory, name)))
    .find((file) => /libsystemd-shared-25[2-9].*\.so$/.test(file));
}

/** systemd's own reading of a command: words by its function, then specifiers and variables as its manual says. */
function wordReader(file: string): (command: string) => string[] {
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
  const first = koffi
    .load(file)
    .func(
      'int extract_first_word(_Inout_ const char **p, _Out_ char **ret, const char *separators, int flags)',
    );
  const unescapeAndUnquote = 0x22;
  return (command) => {
    const rest = [command];
    const words: string[] = [];
    for (;;) {
      const word: [string | null] = [null];
      const result = Number(first(rest, word, null, unescapeAndUnquote));
      if (result < 0) throw new Error(`systemd can't read ${command}: ${result}`);
      if (result === 0) return words;
      expect(word[0]).not.toMatch(/(?<!%)(?:%%)*%(?!%)/);
      words.push((word[0] ?? '').replaceAll('%%', '%').replaceAll('$$', '$'));
    }
  };
}
