import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempDisposableSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { gzipSync } from 'node:zlib';
import { architecture, debianVersion, maintainer } from './deb-control.ts';
import { copyright } from './deb-copyright.ts';
import { manifest } from './manifest.ts';

const home = 'usr/lib/coppice';
const documentation = 'usr/share/doc/coppice';
/** Where others look for what they make clients from. */
const contract = 'usr/share/coppice/proto';

/** What is run, and not only read. */
export const executables: ReadonlySet<string> = new Set([`${home}/node`, `${home}/cli.js`]);

/** Puts every file of the Debian package where it will be, below a directory that stands for the root of the machine. */
export function layOutFiles(root: string, seconds: number): void {
  const node = runtime();
  copy(join(node, 'bin/node'), root, `${home}/node`);
  layOutProgram(root);
  layOutLibrary(root);
  layOutContract(root);
  layOutDocumentation(root, seconds, readFileSync(join(node, 'LICENSE'), 'utf8'));
  layOutHelp(root);
}

/** The directory of the package that brings Node for this processor: its program just as its makers built it, and its licence. */
function runtime(): string {
  const require = createRequire(join(process.cwd(), 'node_modules/node/package.json'));
  return dirname(require.resolve(`node-linux-${architecture().node}/package.json`));
}

/** All that was built but what programs import. The command starts on the right Node by its first line: a script around it would cost the start of a shell each time. */
function layOutProgram(root: string): void {
  const own = readdirSync('dist').filter(
    (file) => file.endsWith('.js') && !['index.js', 'client.js'].includes(file),
  );
  for (const file of own) copy(`dist/${file}`, root, `${home}/${file}`);
  const program = readFileSync('dist/cli.js', 'utf8').replace(/^#!.*/, `#!/${home}/node`);
  write(root, `${home}/cli.js`, program);
  write(root, `${home}/package.json`, `${JSON.stringify({ name: manifest.name, type: 'module' })}\n`);
  mkdirSync(join(root, 'usr/bin'));
  symlinkSync('../lib/coppice/cli.js', join(root, 'usr/bin/coppice'));
}

/** Of koffi only what runs: neither its sources nor its libraries for other systems. */
function layOutLibrary(root: string): void {
  const native = `@koromix/koffi-linux-${architecture().node}`;
  for (const file of [
    'koffi/package.json',
    'koffi/index.cjs',
    'koffi/src/koffi/index.cjs',
    'koffi/src/koffi/src/static.cjs',
    `${native}/package.json`,
    `${native}/index.js`,
    `${native}/linux_${architecture().node}/koffi.node`,
  ]) {
    copy(join('node_modules', file), root, `${home}/node_modules/${file}`);
  }
}

function layOutContract(root: string): void {
  for (const file of filesBelow('proto').filter((name) => name.endsWith('.proto')))
    copy(`proto/${file}`, root, `${contract}/${file}`);
}

function layOutDocumentation(root: string, seconds: number, nodeLicence: string): void {
  write(root, `${documentation}/copyright`, copyright(nodeLicence));
  write(root, `${documentation}/changelog.gz`, gzip(debianChangelog(seconds)));
  write(root, `${documentation}/CHANGELOG.md.gz`, gzip(readFileSync('CHANGELOG.md')));
  copy('README.md', root, `${documentation}/README.md`);
  for (const page of filesBelow('docs')) copy(`docs/${page}`, root, `${documentation}/docs/${page}`);
  copy('scripts/packages/lintian-overrides', root, 'usr/share/lintian/overrides/coppice');
}

function layOutHelp(root: string): void {
  using pages = mkdtempDisposableSync(join(root, '../man-'));
  execFileSync('node', ['scripts/man.ts', pages.path], { stdio: ['ignore', 'ignore', 'inherit'] });
  for (const page of readdirSync(pages.path).filter((name) => name.endsWith('.1')))
    write(root, `usr/share/man/man1/${page}.gz`, gzip(readFileSync(join(pages.path, page))));
  for (const [shell, file] of [
    ['bash', 'usr/share/bash-completion/completions/coppice'],
    ['zsh', 'usr/share/zsh/vendor-completions/_coppice'],
    ['fish', 'usr/share/fish/vendor_completions.d/coppice.fish'],
  ] as const) {
    write(root, file, execFileSync('node', ['dist/cli.js', 'completion', shell]));
  }
}

/** In the form that dpkg and apt read; the pages for people are in CHANGELOG.md. */
function debianChangelog(seconds: number): string {
  const date = new Date(seconds * 1000).toUTCString().replace('GMT', '+0000');
  return `${manifest.name} (${debianVersion()}) unstable; urgency=medium

  * What has changed is in CHANGELOG.md.gz, beside this file.

 -- ${maintainer}  ${date}
`;
}

function filesBelow(folder: string): string[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)));
}

/** Without a name and a time in it. */
function gzip(content: string | Buffer): Buffer {
  return gzipSync(content, { level: 9 });
}

function copy(from: string, root: string, to: string): void {
  mkdirSync(dirname(join(root, to)), { recursive: true });
  copyFileSync(from, join(root, to));
}

function write(root: string, to: string, content: string | Buffer): void {
  mkdirSync(dirname(join(root, to)), { recursive: true });
  writeFileSync(join(root, to), content);
}
