import { spawn } from 'node:child_process';
import { existsSync, globSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { connectCoppice, poolName, volumeName } from '../../src/client/index.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { readPage } from '../docs/markdown.ts';
import { builtCommand, repository } from '../support/built.ts';
import { patternBytes } from '../support/content.ts';
import { type Daemon, startDaemon } from '../support/daemon.ts';
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
  const names = ['debian-12', 'vm-1'].map((name) => volumeName('default', name));
  const parent = poolName('default');
  await coppice.volumes.batchDelete({ parent, names, withSnapshots: true, allowMissing: true });
});
afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
  await served[Symbol.asyncDispose]();
});

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

const withoutTools = skippedWithout('/usr/bin/curl', '/usr/bin/jq');
test.skipIf(withoutTools !== '')(`by curl it runs${withoutTools}`, async () => {
  await expectStory('sh', [join(examples, 'api.sh')], 'already_exists');
});

const withoutPython = skippedWithout(
  '/usr/lib/python3/dist-packages/grpc/__init__.py',
  '/usr/bin/protoc',
  '/usr/bin/grpc_python_plugin',
);
test.skipIf(withoutPython !== '')(`in Python it runs${withoutPython}`, async () => {
  const made = scratchDirectory('python');
  runProgram('/usr/bin/protoc', [
    '-I',
    protos,
    `--python_out=${made}`,
    '--plugin=protoc-gen-grpc=/usr/bin/grpc_python_plugin',
    `--grpc_out=${made}`,
    ...protosOf('coppice/v1', 'google/rpc'),
  ]);
  await expectStory('/usr/bin/python3', ['-B', join(examples, 'api.py')], 'ALREADY_EXISTS', {
    PYTHONPATH: made,
  });
});

describe('in Go', () => {
  const withoutPlugins = skippedWithout(
    '/usr/bin/protoc',
    '/usr/bin/protoc-gen-go',
    '/usr/bin/protoc-gen-go-grpc',
  );
  test.skipIf(withoutPlugins !== '')(`its code can be generated${withoutPlugins}`, () => {
    expect(globSync('coppice/v1/*_grpc.pb.go', { cwd: generateGo() }).sort()).toEqual(
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
      symlinkSync(generateGo(), join(work, 'path/src'));
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

function protosOf(...folders: readonly string[]): string[] {
  return folders.flatMap((folder) => globSync(`${folder}/*.proto`, { cwd: protos }));
}

/** As the page says. */
function generateGo(): string {
  const made = scratchDirectory('go-code');
  const others = 'google.golang.org/genproto/googleapis/rpc/errdetails';
  const packages = [
    ...protosOf('coppice/v1').map((file) => `M${file}=coppice/v1`),
    `Mgoogle/rpc/error_details.proto=${others}`,
  ].flatMap((option) => [`--go_opt=${option}`, `--go-grpc_opt=${option}`]);
  runProgram('/usr/bin/protoc', [
    '-I',
    protos,
    `--go_out=${made}`,
    `--go-grpc_out=${made}`,
    ...packages,
    ...protosOf('coppice/v1'),
  ]);
  return made;
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
