import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readMounts } from '../../src/linux/mounts.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { builtCommand, repository } from '../support/built.ts';
import { scratchDirectory } from '../support/devices.ts';
import { mark } from '../support/marks.ts';
import { countMarks, type Example, examplesOf, pages } from './markdown.ts';

/**
 * Runs the examples of the pages for real, each page in a directory that stands for the root of a machine: paths like
 * /var/lib/coppice in a command, and in what it says, mean those below it. The host's own are never touched.
 */

const runnable = pages.filter((page) => countMarks(page) > 0);

test.each(runnable)('every mark in %s belongs to an example', (page) => {
  expect(examplesOf(page).length).toBe(countMarks(page));
});

describe.each(runnable)('examples of %s', (page) => {
  const examples = examplesOf(page);
  let root = '';
  let results: readonly Result[] = [];

  beforeAll(async () => {
    root = makeRoot();
    results = await runAll(root, examples);
  });
  afterAll(() => {
    for (const { mountPoint } of readMounts().reverse())
      if (root !== '' && mountPoint.startsWith(`${root}/`)) runProgram('umount', ['--', mountPoint]);
  });

  for (const [index, example] of examples.entries()) {
    test(`line ${example.line}: ${example.text.split('\n', 1)[0]}`, () => {
      const own = results.filter((result) => result.example === index);
      expect(own.length, 'commands that ran').toBe(stepsOf(example).length);
      for (const { step, exit, output } of own) {
        const said = output.replaceAll(root, '');
        expect(`exit code ${exit} of ${step.command}\n${exit === example.exit ? '' : said}`).toBe(
          `exit code ${example.exit} of ${step.command}\n`,
        );
        if (step.expected !== undefined)
          expect(stable(said), step.command).toMatch(patternOf(stable(step.expected)));
      }
    });
  }
});

test('the examples in TypeScript have the right types', () => {
  const directory = scratchDirectory('types');
  installLibrary(directory);
  for (const page of runnable) {
    for (const example of examplesOf(page)) {
      if (example.language !== 'ts') continue;
      const name = `${page.replace(/\W/g, '-')}-${example.line}.ts`;
      writeFileSync(join(directory, name), example.text);
    }
  }
  writeFileSync(
    join(directory, 'tsconfig.json'),
    JSON.stringify({
      extends: join(repository, 'tsconfig.json'),
      compilerOptions: { typeRoots: [join(repository, 'node_modules/@types')], isolatedDeclarations: false },
      include: ['*.ts'],
    }),
  );
  runProgram(join(repository, 'node_modules/.bin/tsc'), ['--noEmit', '-p', directory]);
});

interface Step {
  readonly command: string;
  /** What it says, standard output and standard error together; undefined where the page does not show it. */
  readonly expected: string | undefined;
}

interface Result {
  readonly example: number;
  readonly step: Step;
  readonly exit: number;
  readonly output: string;
}

function stepsOf(example: Example): Step[] {
  if (example.language === 'console') {
    return example.text
      .split(/^\$ /m)
      .slice(1)
      .map((part) => {
        const [command = '', ...output] = part.trimEnd().split('\n');
        return { command, expected: output.join('\n') };
      });
  }
  if (example.language === 'sh') {
    const lines = example.text.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('#'));
    return lines.map((command) => ({ command, expected: undefined }));
  }
  return [{ command: example.text, expected: undefined }];
}

/** All examples of a page in one shell, so that variables and jobs live on. */
async function runAll(root: string, examples: readonly Example[]): Promise<Result[]> {
  const steps = examples.flatMap((example, index) => stepsOf(example).map((step) => ({ index, step })));
  const script = steps.map(({ index, step }, number) => {
    const isProgram = examples[index]?.language === 'ts';
    const file = join(root, 'root', `example-${number}.ts`);
    if (isProgram) writeFileSync(file, below(root, step.command));
    const command = isProgram ? `"$NODE" ${file}` : below(root, step.command);
    return `{\n${command}\n} > ${root}/${number}.output 2>&1\necho $? > ${root}/${number}.exit`;
  });
  const shell = spawn('bash', ['-c', script.join('\n')], {
    cwd: join(root, 'root'),
    stdio: 'ignore',
    env: {
      PATH: `${root}/bin:${process.env['PATH']}:/usr/sbin:/sbin`,
      NODE: process.execPath,
      COPPICE_POOL: `${root}/var/lib/coppice`,
      HOME: `${root}/root`,
      TZ: 'UTC',
      ...mark(),
    },
  });
  await once(shell, 'exit');
  return steps.map(({ index, step }, number) => ({
    example: index,
    step,
    exit: Number(readFileSync(`${root}/${number}.exit`, 'utf8')),
    output: readFileSync(`${root}/${number}.output`, 'utf8').trimEnd(),
  }));
}

function makeRoot(): string {
  const root = scratchDirectory('docs');
  for (const directory of ['bin', 'etc/systemd/system', 'root', 'var/lib', 'srv'])
    mkdirSync(join(root, directory), { recursive: true });
  writeFileSync(join(root, 'etc/fstab'), '# a machine\n');
  writeFileSync(join(root, 'bin/npx'), '#!/bin/sh\nexec "$@"\n', { mode: 0o755 });
  const boot = `--fstab ${root}/etc/fstab --unit-directory ${root}/etc/systemd/system`;
  writeFileSync(
    join(root, 'bin/coppice'),
    `#!/bin/sh\ncase "$1 $2" in "pool persist" | "pool destroy") set -- "$@" ${boot} ;; esac\nexec ${process.execPath} ${builtCommand()} "$@"\n`,
    { mode: 0o755 },
  );
  installLibrary(join(root, 'root'));
  const raw = join(root, 'root/debian-12.raw');
  runProgram('mkfs.ext4', ['-q', '-d', join(repository, 'docs'), raw, '2G']);
  runProgram('cp', ['--sparse=always', raw, join(root, 'root/demo.raw')]);
  const qcow2 = raw.replace('.raw', '.qcow2');
  runProgram('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, qcow2]);
  return root;
}

/** Makes `import ... from 'coppice'` mean this repository. */
function installLibrary(directory: string): void {
  builtCommand();
  mkdirSync(join(directory, 'node_modules'));
  symlinkSync(repository, join(directory, 'node_modules/coppice'));
  writeFileSync(join(directory, 'package.json'), '{ "type": "module" }\n');
}

function below(root: string, command: string): string {
  return command.replace(/(?<![\w./-])\/(?=(?:var|srv|etc|root)\/)/g, `${root}/`);
}

/** What differs from run to run becomes the same, also the width of columns. */
function stable(text: string): string {
  return text
    .replace(/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, 'ID')
    .replace(/\d{4}-\d\d-\d\d(?:T[\d:.]+Z| \d\d:\d\d)/g, 'TIME')
    .replace(/\d{8}-\d{6}/g, 'STAMP')
    .replace(/\/dev\/loop\d+/g, 'LOOP')
    .replace(/process \d+/g, 'process N')
    .replace(/\d+ extents?/g, 'N extents')
    .replace(/\d+\.\d ms/g, 'N ms')
    .replace(/ +/g, ' ');
}

/** `...` stands for anything on a line, and on a line of its own for any lines. */
function patternOf(expected: string): RegExp {
  const lines = expected.split('\n').map((line) => {
    if (line === '...') return '(?:.*\n?)*';
    return `${line
      .split('...')
      .map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'))
      .join('.*')}(?:\n|$)`;
  });
  return new RegExp(`^${expected === '' ? '' : lines.join('')}$`);
}
