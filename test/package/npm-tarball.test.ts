import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { manifest } from '../../scripts/packages/manifest.ts';
import { makeNpmTarball } from '../../scripts/packages/npm-tarball.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { builtCommand, repository } from '../support/built.ts';
import { patternBytes } from '../support/content.ts';
import { scratchDirectory } from '../support/devices.ts';
import { cleanDebian, npmCache } from './clean-debian.ts';
import { CleanMachine } from './clean-machine.ts';
import { builtBeside, filesBelow } from './packaging.ts';

let tarball = '';
/** A project of somebody else, with the package unpacked where npm would put it. */
let project = '';

beforeAll(() => {
  builtCommand();
  tarball = makeNpmTarball(scratchDirectory('tarball'));
  project = scratchDirectory('project');
  const modules = join(project, 'node_modules');
  mkdirSync(join(modules, 'coppice'), { recursive: true });
  runProgram('tar', ['-xzf', tarball, '--strip-components=1', '-C', join(modules, 'coppice')]);
  for (const name of [
    '@types/node',
    '@bufbuild/protobuf',
    '@connectrpc/connect',
    '@connectrpc/connect-node',
  ]) {
    mkdirSync(join(modules, dirname(name)), { recursive: true });
    symlinkSync(join(repository, 'node_modules', name), join(modules, name));
  }
  writeFileSync(join(project, 'package.json'), '{ "type": "module" }\n');
});

test('has the program, the types, the contract and the pages, and no sources', () => {
  const files = runProgram('tar', ['-tzf', tarball]).trimEnd().split('\n').sort();
  const own = ['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json'];
  const pages = [...filesBelow('docs'), ...filesBelow('proto', '.proto')];
  const program = ['cli', 'index', 'client', ...builtBeside('cli')].map((name) => `dist/${name}.js`);
  const rest = files.filter((file) => !/^package\/dist\/types\/[\w/-]+\.d\.ts$/.test(file));
  expect(rest).toEqual([...own, ...pages, ...program].map((file) => `package/${file}`).sort());
  expect(files).toContain('package/dist/types/index.d.ts');
  expect(files).toContain('package/dist/types/client/index.d.ts');
  expect(files.filter((file) => file.includes('/cli/'))).toEqual([]);
});

test('can be written by nobody else, whatever the umask was', () => {
  const modes = runProgram('tar', ['-tvzf', tarball]).matchAll(/^(\S+).* (\S+)$/gm);
  for (const [, mode, file] of modes)
    expect(`${mode} ${file}`).toBe(`-rw${file?.endsWith('/cli.js') ? 'xr-xr-x' : '-r--r--'} ${file}`);
});

describe.each(['node16', 'bundler'])('with moduleResolution %s', (moduleResolution) => {
  test('its types are found, complete, and checked', () => {
    const options = {
      strict: true,
      skipLibCheck: false,
      noEmit: true,
      target: 'es2024',
      types: ['node'],
      module: moduleResolution === 'node16' ? 'node16' : 'esnext',
      moduleResolution,
    };
    const settings = (lib: readonly string[]): void =>
      writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions: { ...options, lib } }));
    settings(['esnext']);
    const tsc = join(repository, 'node_modules/.bin/tsc');
    writeFileSync(join(project, 'right.ts'), program);
    runProgram(tsc, ['-p', project]);
    writeFileSync(join(project, 'right.ts'), program.replace("'base', 'vm'", "'base', 7"));
    expect(() => runProgram(tsc, ['-p', project])).toThrow(/tsc failed/);
    // Connect's own declarations, which are checked here, too, name a type of the web.
    settings(['esnext', 'dom']);
    writeFileSync(join(project, 'right.ts'), clientProgram);
    runProgram(tsc, ['-p', project]);
    writeFileSync(join(project, 'right.ts'), clientProgram.replace("volumeId: 'served'", 'volumeId: 7'));
    expect(() => runProgram(tsc, ['-p', project])).toThrow(/tsc failed/);
  });
});

/** Clones in worker threads, so it needs the file that they run. */
const program = `
import { openPool, type Pool } from 'coppice';

const pool: Pool = await openPool('/var/lib/coppice');
const { cloned, failed } = await pool.cloneMany('base', 'vm', 3);
console.log(cloned.map(({ name }) => name).join(), failed.length);
await pool.close();
`;

/** Starts the daemon as a service would, and ends it. */
const clientProgram = `
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connectCoppice, PoolState, poolName, volumeName } from 'coppice/client';

const server = spawn('coppice', ['serve', '--socket', '/srv/run/s', '--state', '/srv/state', '--audit-log', '/srv/audit/log'], {
  stdio: ['ignore', 'inherit', 'pipe'],
});
await once(server.stderr, 'data');
{
  using coppice = connectCoppice({ socket: '/srv/run/s' });
  for (;;) {
    const { state } = await coppice.pools.getPool({ name: poolName('default') });
    if (state === PoolState.AVAILABLE) break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const { name } = await coppice.volumes.clone({ source: volumeName('default', 'base'), volumeId: 'served' });
  console.log(name);
}
server.kill();
console.log(await once(server, 'exit'));
`;

const debian = cleanDebian();

describe.skipIf(!debian.archive)(`on a clean Debian with Node 24${debian.unless}`, () => {
  let machine: CleanMachine;

  beforeAll(async () => {
    machine = await CleanMachine.boot(debian.archive ?? '');
    machine.copyIn(join(repository, 'node_modules/node/bin/node'), '/usr/local/bin/node');
    machine.run('chmod', '755', '/usr/local/bin/node');
    machine.copyIn(tarball, '/srv/coppice.tgz');
    writeFileSync(join(machine.root, 'srv/image.raw'), patternBytes(1, 2 ** 20));
    machine.run('apt-get', 'install', '--yes', '--no-install-recommends', 'btrfs-progs', 'mount');
  });
  afterAll(() => machine[Symbol.asyncDispose]());

  const npm = (...args: readonly string[]): string =>
    machine.run('npm', '--offline', '--no-audit', '--cache', npmCache, ...args);

  test('npm installs the command with nothing but what it depends on, and a pool can be used', () => {
    npm('install', '--global', '/srv/coppice.tgz');
    const modules = join(machine.root, 'usr/local/lib/node_modules');
    expect(readdirSync(modules).sort()).toEqual(['coppice', 'npm']);
    expect(readdirSync(join(modules, 'coppice/node_modules')).sort()).toEqual([
      '@bufbuild',
      '@connectrpc',
      '@koromix',
      'koffi',
    ]);
    expect(readdirSync(join(modules, 'coppice/node_modules/@koromix'))).toHaveLength(1);
    expect(machine.run('coppice', 'version')).toContain(`coppice ${manifest.version} (Node 24.`);
    machine.run('coppice', 'pool', 'create', '--size', '4G');
    machine.run('coppice', 'import', 'base', '/srv/image.raw');
  });

  test('a program imports the library', () => {
    mkdirSync(join(machine.root, 'srv/project'));
    writeFileSync(join(machine.root, 'srv/project/package.json'), '{ "type": "module" }\n');
    writeFileSync(join(machine.root, 'srv/project/program.ts'), program);
    npm('install', '--prefix', '/srv/project', '/srv/coppice.tgz');
    expect(machine.run('node', '/srv/project/program.ts')).toBe('vm-1,vm-2,vm-3 0\n');
    expect(JSON.parse(machine.run('coppice', 'list', '--json'))).toHaveLength(4);
  });

  test('a program is served by the daemon through the client', () => {
    writeFileSync(join(machine.root, 'srv/project/client.ts'), clientProgram);
    expect(machine.run('node', '/srv/project/client.ts')).toBe('pools/default/volumes/served\n[ 0, null ]\n');
  });

  test('uninstalling it takes all of it away, and leaves the pool', () => {
    npm('uninstall', '--global', 'coppice');
    const left = machine.run('find', '/usr', '-name', '*coppice*', '-o', '-name', '*koffi*');
    expect(left).toBe('');
    expect(readdirSync(join(machine.root, 'var/lib')).filter((name) => name.startsWith('coppice'))).toEqual([
      'coppice',
      'coppice.img',
    ]);
  });
});
