import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { depends } from '../../scripts/packages/deb-control.ts';
import { manifest } from '../../scripts/packages/manifest.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { patternBytes } from '../support/content.ts';
import { scratchDirectory } from '../support/devices.ts';
import { cleanDebian, imageTools } from './clean-debian.ts';
import { CleanMachine } from './clean-machine.ts';
import { builtBeside, filesBelow, makePackages, type Packages } from './packaging.ts';

let packages: Packages;
let unpacked = '';

beforeAll(() => {
  packages = makePackages();
  unpacked = scratchDirectory('deb');
  runProgram('dpkg-deb', ['--raw-extract', packages.deb, unpacked]);
});

test('the same commit gives the same bytes, whatever the umask, the language and the time zone are', () => {
  const again = makePackages('umask 077; export TZ=Asia/Tokyo LC_ALL=C.UTF-8');
  expect(readFileSync(again.sums, 'utf8')).toBe(readFileSync(packages.sums, 'utf8'));
  const names = runProgram('env', ['--chdir', dirname(packages.sums), 'sha256sum', '--check', packages.sums]);
  expect(names.split('\n').filter((line) => line.endsWith(': OK'))).toHaveLength(2);
}, 180_000);

test('the deb has these files, which belong to root, and which only root can write', () => {
  const lines = runProgram('dpkg-deb', ['--contents', packages.deb]).trimEnd().split('\n');
  const entries = lines.map((line) => /^(\S+) (\S+) .*? \.\/(\S*)/.exec(line)?.slice(1) ?? [line]);
  expect(new Set(entries.map(([, owner]) => owner))).toEqual(new Set(['root/root']));
  expect(new Set(entries.map(([mode]) => mode))).toEqual(
    new Set(['drwxr-xr-x', '-rw-r--r--', '-rwxr-xr-x', 'lrwxrwxrwx']),
  );
  const executable = entries.filter(([mode]) => mode === '-rwxr-xr-x').map(([, , path]) => path);
  expect(executable).toEqual(['usr/lib/coppice/cli.js', 'usr/lib/coppice/node']);
  const files = entries.map(([, , path = '']) => path).filter((path) => path !== '' && !path.endsWith('/'));
  const manual = /^usr\/share\/man\/man1\/coppice[\w-]*\.1\.gz$/;
  expect(new Set(files.filter((file) => !manual.test(file)))).toEqual(new Set(expectedFiles()));
  const pages = files.filter((file) => manual.test(file)).map((file) => file.split('/').at(-1));
  expect(pages).toEqual(
    expect.arrayContaining(['coppice.1.gz', 'coppice-clone.1.gz', 'coppice-pool-create.1.gz']),
  );
});

test('nothing runs when it is installed or removed', () => {
  expect(readdirSync(join(unpacked, 'DEBIAN')).sort()).toEqual(['control', 'md5sums']);
});

test('what it says about the system libraries that it needs is true', () => {
  const library = join(unpacked, 'usr/lib/coppice/node_modules/@koromix', `koffi-linux-${process.arch}`);
  const programs = [
    join(unpacked, 'usr/lib/coppice/node'),
    join(library, `linux_${process.arch}`, 'koffi.node'),
  ];
  const needed = programs.flatMap((file) =>
    readFileSync(file, 'latin1')
      .matchAll(/\0GLIBC_2\.(\d+)(?=\0)/g)
      .map(([, minor]) => Number(minor))
      .toArray(),
  );
  expect(depends[0]).toBe(`libc6 (>= 2.${Math.max(...needed)})`);
});

test('the licences of all that is in it come with it', () => {
  const copyright = readFileSync(join(unpacked, 'usr/share/doc/coppice/copyright'), 'utf8');
  for (const owner of [
    'Node.js contributors',
    'Niels Martignène',
    'Bloomberg',
    'the V8 project authors',
    'The Connect Authors',
    'Buf Technologies',
    '2008 Google Inc.',
  ])
    expect(copyright).toContain(owner);
});

const debian = cleanDebian();

describe.skipIf(!debian.archive)(`on a clean Debian without Node${debian.unless}`, () => {
  let machine: CleanMachine;

  beforeAll(async () => {
    machine = await CleanMachine.boot(debian.archive ?? '');
    machine.copyIn(packages.deb, '/srv/coppice.deb');
    writeFileSync(join(machine.root, 'srv/image.raw'), patternBytes(1, 2 ** 20));
  });
  afterAll(() => machine[Symbol.asyncDispose]());

  const coppice = (...args: readonly string[]): string => machine.run('coppice', ...args);
  const digest = (path: string): string => machine.run('sha256sum', path).slice(0, 64);

  test('apt installs it with what it depends on', () => {
    machine.run('apt-get', 'install', '--yes', '--no-install-recommends', '/srv/coppice.deb');
    expect(coppice('version')).toContain(`coppice ${manifest.version} (Node 24.`);
    expect(machine.run('find', '/usr/bin', '/usr/local/bin', '-name', 'node*')).toBe('');
  });

  test('a pool is made, used and destroyed', () => {
    coppice('pool', 'create', '--size', '4G');
    coppice('import', 'base', '/srv/image.raw');
    expect(coppice('clone', 'base', 'vm', '--count', '2')).toBe('Cloned base to 2 volumes: vm-1, vm-2.\n');
    const disk = coppice('path', 'vm-1').trim();
    const good = digest('/srv/image.raw');
    expect(digest(disk)).toBe(good);
    coppice('snapshot', 'vm-1@good');
    machine.run('dd', 'if=/dev/urandom', `of=${disk}`, 'bs=64K', 'count=1', 'conv=notrunc', 'status=none');
    expect(digest(disk)).not.toBe(good);
    coppice('rollback', 'vm-1@good');
    expect(digest(disk)).toBe(good);
    coppice('remove', 'vm-1', '--with-snapshots');
    expect(coppice('list', '--json')).not.toContain('vm-1');
    coppice('pool', 'destroy', '/var/lib/coppice', '--yes');
    expect(machine.run('find', '/var/lib', '-maxdepth', '1', '-name', 'coppice*')).toBe('');
  });

  test('the daemon has all that it needs, and ends when it is told to', () => {
    coppice('pool', 'create', '/srv/served', '--size', '4G');
    const flags =
      '--pool /srv/served --socket /srv/run/coppice.sock --state /srv/state --audit-log /srv/audit/log';
    const said = machine.run(
      'sh',
      '-euc',
      `
      coppice serve ${flags} 2> /srv/log & server=$!
      until grep -q '"pool available"' /srv/log; do kill -0 $server; sleep 0.1; done
      test -S /srv/run/coppice.sock
      kill $server
      wait $server
      cat /srv/log
      rm -r /srv/state /srv/audit /srv/log /srv/run`,
    );
    expect(said).toContain('"stopped"');
    coppice('pool', 'destroy', '/srv/served', '--yes');
    expect(machine.run('find', '/usr/share/coppice/proto', '-name', 'volume_service.proto')).not.toBe('');
  });

  test('the manual is there, and bash completes the command', () => {
    expect(machine.run('zcat', '/usr/share/man/man1/coppice.1.gz')).toMatch(/^\.TH "?COPPICE/im);
    const script = '/usr/share/bash-completion/completions/coppice';
    expect(machine.run('bash', '-euc', `source ${script}; complete -p coppice`)).toMatch(/ coppice$/m);
  });

  test('what it recommends is all that it needs for qcow2 images', () => {
    machine.run('apt-get', 'install', '--yes', '--no-install-recommends', ...imageTools);
    machine.run('qemu-img', 'convert', '-O', 'qcow2', '/srv/image.raw', '/srv/image.qcow2');
    coppice('pool', 'create', '--size', '4G');
    coppice('import', 'base', '/srv/image.qcow2');
    expect(digest(coppice('path', 'base').trim())).toBe(digest('/srv/image.raw'));
  });

  test('purging it takes all of it away, and leaves the pool', () => {
    machine.run('apt-get', 'purge', '--yes', 'coppice');
    const left = machine.run('find', '/', '-xdev', '-name', '*coppice*', '-not', '-path', '/proc/*');
    expect(left.trimEnd().split('\n').sort()).toEqual([
      '/srv/coppice.deb',
      '/var/lib/coppice',
      '/var/lib/coppice.img',
    ]);
    expect(digest('/var/lib/coppice/volumes/base/data/disk.raw')).toBe(digest('/srv/image.raw'));
  });
});

function expectedFiles(): string[] {
  const home = 'usr/lib/coppice';
  const koffi = `${home}/node_modules/koffi`;
  const native = `${home}/node_modules/@koromix/koffi-linux-${process.arch}`;
  const documentation = 'usr/share/doc/coppice';
  return [
    'usr/bin/coppice',
    ...['cli', ...builtBeside('cli')].map((name) => `${home}/${name}.js`),
    `${home}/node`,
    `${home}/package.json`,
    `${koffi}/index.cjs`,
    `${koffi}/package.json`,
    `${koffi}/src/koffi/index.cjs`,
    `${koffi}/src/koffi/src/static.cjs`,
    `${native}/index.js`,
    `${native}/linux_${process.arch}/koffi.node`,
    `${native}/package.json`,
    ...filesBelow('docs').map((page) => `${documentation}/${page}`),
    ...filesBelow('proto', '.proto').map((file) => `usr/share/coppice/${file}`),
    `${documentation}/CHANGELOG.md.gz`,
    `${documentation}/README.md`,
    `${documentation}/changelog.gz`,
    `${documentation}/copyright`,
    'usr/share/lintian/overrides/coppice',
    'usr/share/bash-completion/completions/coppice',
    'usr/share/zsh/vendor-completions/_coppice',
    'usr/share/fish/vendor_completions.d/coppice.fish',
  ];
}
