import { readFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, type Plugin, stop } from 'esbuild';
import { builtCommand, repository } from '../support/built.ts';

/**
 * Programs of the tests, each with all that it imports, so that a guest need not read hundreds of files and strip their types: where it
 * is emulated, that takes half a minute for each process. What they start beside themselves is the built one.
 * @param entries files of this checkout, by the name that each is to have
 * @returns files by their names; those whose names begin with `chunk-` are shared by the others
 */
export async function bundleForGuest(
  entries: Readonly<Record<string, string>>,
): Promise<Record<string, string>> {
  builtCommand();
  try {
    const { outputFiles } = await build({
      entryPoints: Object.fromEntries(
        Object.entries(entries).map(([name, file]) => [name.replace(/\.js$/, ''), join(repository, file)]),
      ),
      outdir: '/',
      write: false,
      bundle: true,
      splitting: true,
      format: 'esm',
      platform: 'node',
      target: 'node24',
      supported: { using: true },
      external: ['koffi', 'vitest', 'vitest/*'],
      sourcemap: 'inline',
      sourcesContent: false,
      plugins: [whereItWas],
      logLevel: 'warning',
    });
    return Object.fromEntries(outputFiles.map(({ path, text }) => [basename(path), text]));
  } finally {
    // A process of its own, which else would live as long as this one.
    await stop();
  }
}

/** Has every module believe that it lies where its source does; those of `src` that they are built. */
const whereItWas: Plugin = {
  name: 'where-it-was',
  setup(setup) {
    setup.onLoad({ filter: /\.ts$/ }, ({ path }) => {
      const isSource = !relative(join(repository, 'src'), path).startsWith('..');
      const place = isSource ? join(repository, 'dist', 'index.js') : path;
      const contents = readFileSync(path, 'utf8')
        .replaceAll('import.meta.url', JSON.stringify(pathToFileURL(place).href))
        .replaceAll('import.meta.filename', JSON.stringify(place))
        .replaceAll('import.meta.dirname', JSON.stringify(dirname(place)));
      return { contents, loader: 'ts' };
    });
  },
};

/** Where they are in a guest that has run this, with what they need of the checkout. */
export const programs = '/tmp/programs';

/** @param checkout where the guest has it */
export function unpack(checkout: string): string {
  return `
mkdir ${programs}
cp /guest/*.js ${programs}
echo '{ "type": "module" }' > ${programs}/package.json
ln -s ${checkout}/node_modules ${programs}/node_modules
`;
}
