import { spawn } from 'node:child_process';
import { existsSync, globSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Code, connectCoppice, poolName, volumeName } from '../../src/client/index.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { errorCodes } from '../../src/model/errors.ts';
import { statusCodes } from '../../src/server/failures.ts';
import { readPage } from '../docs/markdown.ts';
import { builtCommand, repository } from '../support/built.ts';
import { type Daemon, startDaemon } from '../support/built-daemon.ts';
import { patternBytes } from '../support/content.ts';
import { scratchDirectory } from '../support/devices.ts';
import { skippedWithout } from '../support/needs.ts';
import { makeTestPool, type TestPool } from '../support/test-pool.ts';

/** Runs the examples of docs/api.md as a reader would: each against the built daemon and a real pool. */

const examples = join(repository, 'docs/examples');
const protos = join(repository, 'proto');
const page = readPage('docs/api.md');

let served: TestPool;
let daemon: Daemon;
let image = '';

beforeAll(async () => {
  served = await makeTestPool();
  image = join(served.scratch, 'debian-12.raw');
  writeFileSync(image, patternBytes(1, 2 ** 20));
  daemon = await startDaemon(served.path);
});
afterEach(async () => {
  using coppice = connectCoppice({ socket: daemon.socket });
  const names = ['debian-12', 'vm-1', 'vm-2'].map((name) => volumeName('default', name));
  const parent = poolName('default');
  await coppice.volumes.batchDelete({ parent, names, withSnapshots: true, allowMissing: true });
});
afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
  await served[Symbol.asyncDispose]();
});

const withoutTools = skippedWithout('/usr/bin/curl', '/usr/bin/jq');

describe('docs/api.md', () => {
  test.each([
    ['api.ts', 'ts'],
    ['api.sh', 'sh'],
    ['api.py', 'python'],
    ['api.go', 'go'],
  ])('quotes docs/examples/%s as it is', (file, language) => {
    const blocks = [...page.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, 'gm'))];
    expect(blocks.map(([, text]) => text)).toContain(readFileSync(join(examples, file), 'utf8'));
  });

  test.each(errorCodes)('gives %s the status that the server gives it', (code) => {
    const status = Code[statusCodes[code]].replace(/(?<=[a-z])[A-Z]/g, '_$&').toUpperCase();
    expect(page).toContain(`\n| \`${code}\` | \`${status === 'CANCELED' ? 'CANCELLED' : status}\` | `);
  });

  test('knows each reason of the server', () => {
    const sources = globSync('**/*.ts', { cwd: join(repository, 'src/server') });
    const said = sources.flatMap((file) => {
      const text = readFileSync(join(repository, 'src/server', file), 'utf8');
      const found = text.matchAll(
        /(?:refused\(\s*Code\.\w+,|unauthenticated\(|unavailable\(|reason:)\s*'([A-Z_]+)'/g,
      );
      return found.map(([, reason = '']) => reason).toArray();
    });
    expect(said).toEqual(expect.arrayContaining(['POOL_UNAVAILABLE', 'SCOPE', 'NO_CREDENTIALS']));
    const codes = errorCodes.map((code) => code.toUpperCase());
    expect(said.filter((reason) => !codes.includes(reason) && !page.includes(`\`${reason}\``))).toEqual([]);
  });
});

test.skipIf(withoutTools !== '')(`by curl each call answers as the page says${withoutTools}`, async () => {
  await served.pool.import('debian-12', image);
  for (const name of ['vm-1', 'vm-2']) await served.pool.clone('debian-12', name);
  await served.pool.snapshot('vm-2@clean');
  const steps = [...page.matchAll(/^```console\n([\s\S]*?)^```$/gm)].flatMap(([, text = '']) =>
    text.split(/^\$ /m).slice(1),
  );
  expect(steps.length).toBeGreaterThan(4);
  for (const step of steps) {
    const [command = '', ...expected] = step.trimEnd().split('\n');
    const here = command.replaceAll('/run/coppice/coppice.sock', daemon.socket);
    const { output } = await run('sh', ['-c', here], {});
    expect(output.trimEnd().split('\n'), command).toEqual(
      expected.map((line) => expect.stringMatching(lineLike(line))),
    );
  }
});

describe('in TypeScript', () => {
  const project = (): string => {
    builtCommand();
    const directory = scratchDirectory('typescript');
    mkdirSync(join(directory, 'node_modules'));
    symlinkSync(repository, join(directory, 'node_modules/coppice'));
    writeFileSync(join(directory, 'package.json'), '{ "type": "module" }\n');
    symlinkSync(join(examples, 'api.ts'), join(directory, 'linked.ts'));
    writeFileSync(join(directory, 'api.ts'), readFileSync(join(examples, 'api.ts')));
    return directory;
  };

  test('it runs', async () => {
    await expectStory(process.execPath, [join(project(), 'api.ts')], 'AlreadyExists');
  });

  test('it has the right types', () => {
    const directory = project();
    const compilerOptions = {
      typeRoots: [join(repository, 'node_modules/@types')],
      isolatedDeclarations: false,
    };
    const settings = { extends: join(repository, 'tsconfig.json'), compilerOptions, include: ['api.ts'] };
    writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify(settings));
    runProgram(join(repository, 'node_modules/.bin/tsc'), ['--noEmit', '-p', directory]);
  });
});

test.skipIf(withoutTools !== '')(`by curl it runs${withoutTools}`, async () => {
  await expectStory('sh', [join(examples, 'api.sh')], 'already_exists');
});

const withoutPython = skippedWithout(
  '/usr/lib/python3/dist-packages/grpc/__init__.py',
  '/usr/bin/protoc',
  '/usr/bin/grpc_python_plugin',
);
test.skipIf(withoutPython !== '')(`in Python it runs${withoutPython}`, async () => {
  await expectStory('/usr/bin/python3', ['-B', join(examples, 'api.py')], 'ALREADY_EXISTS', {
    PYTHONPATH: generate('python'),
  });
});

describe('in Go', () => {
  const withoutPlugins = skippedWithout(
    '/usr/bin/protoc',
    '/usr/bin/protoc-gen-go',
    '/usr/bin/protoc-gen-go-grpc',
  );
  test.skipIf(withoutPlugins !== '')(`its code can be generated${withoutPlugins}`, () => {
    expect(globSync('coppice/v1/*_grpc.pb.go', { cwd: generate('go') }).sort()).toEqual(
      ['event', 'job', 'pool', 'volume'].map((name) => `coppice/v1/${name}_service_grpc.pb.go`),
    );
  });

  // Go and its library for gRPC take 600 MB, so that npm test does not install them.
  const needed = ['/usr/bin/go', '/usr/share/gocode/src/google.golang.org/grpc'];
  const missing = needed.filter((file) => !existsSync(file));
  const why = missing.length > 0 ? ` (skipped: there is no ${missing.join(', ')})` : '';
  test.skipIf(why !== '' || withoutPlugins !== '')(
    `it runs${why}`,
    async () => {
      const work = scratchDirectory('go');
      mkdirSync(join(work, 'path'));
      symlinkSync(generate('go'), join(work, 'path/src'));
      const environment = {
        GO111MODULE: 'off',
        GOFLAGS: '',
        GOPATH: `${join(work, 'path')}:/usr/share/gocode`,
        GOCACHE: join(work, 'cache'),
        HOME: work,
      };
      const build = ['build', '-o', join(work, 'api'), join(examples, 'api.go')];
      expect(await run('/usr/bin/go', build, environment)).toEqual({ code: 0, output: '' });
      await expectStory(join(work, 'api'), [], 'AlreadyExists');
    },
    300_000,
  );
});

/** With `...` for anything. */
function lineLike(line: string): RegExp {
  const parts = line.split('...').map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`);
}

/** Makes the code as the page says, and returns where it is. */
function generate(language: 'python' | 'go'): string {
  const work = scratchDirectory(language);
  symlinkSync(protos, join(work, 'proto'));
  mkdirSync(join(work, 'gen'));
  const [, ...commands] = /\n```\n(protoc [\s\S]*?)\n\n(protoc [\s\S]*?)\n```\n/.exec(page) ?? [];
  const command = commands.find((each) => each.includes(`--${language}_out`));
  runProgram('sh', ['-euc', `cd "$1"; ${command}`, 'sh', work]);
  return join(work, 'gen');
}

/** What all examples do, and say, but for what a language calls a status. */
async function expectStory(
  program: string,
  args: readonly string[],
  status: string,
  environment: NodeJS.ProcessEnv = {},
): Promise<void> {
  const { code, output } = await run(program, [...args, image], {
    ...environment,
    COPPICE_SOCKET: daemon.socket,
  });
  const lines = output.split('\n').filter((line) => !/^\w+ \d+ ?%$/.test(line));
  const undo = lines.find((line) => line.startsWith('rolled back'))?.split(': ')[1] ?? '';
  const vm = volumeName('default', 'vm-1');
  expect(undo).toMatch(/^pools\/default\/volumes\/vm-1\/snapshots\/pre-rollback-\d{8}-\d{6}$/);
  const events = lines.filter((line) => /^[A-Z]+ /.test(line));
  expect({ code, said: lines.filter((line) => !events.includes(line)) }).toEqual({
    code: 0,
    said: [
      `imported ${volumeName('default', 'debian-12')}`,
      `cloned once: ${vm}`,
      `rolled back; to undo: ${undo}`,
      `refused: ${status} ALREADY_EXISTS`,
      '',
    ],
  });
  expect(events).toEqual(
    expect.arrayContaining([
      `ADDED ${volumeName('default', 'debian-12')}`,
      `ADDED ${vm}`,
      `ADDED ${vm}/snapshots/clean`,
      `ADDED ${undo}`,
    ]),
  );
  using coppice = connectCoppice({ socket: daemon.socket });
  const { snapshots } = await coppice.volumes.listSnapshots({ parent: vm });
  expect(snapshots.map(({ name }) => name)).toEqual([`${vm}/snapshots/clean`, undo]);
}

/** Without holding up this process, whose files the daemon may wait for. */
async function run(
  program: string,
  args: readonly string[],
  environment: NodeJS.ProcessEnv,
): Promise<{ readonly code: number | null; readonly output: string }> {
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  const { promise, resolve } = Promise.withResolvers<number | null>();
  child.on('close', resolve);
  return { code: await promise, output };
}
