import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { architecture } from '../../scripts/packages/deb-control.ts';

/** The Debian that runs here, as far as making another like it needs to know. */

/** How apt reaches its mirrors on this machine, through a proxy for example. */
export function aptSettings(): string {
  return run('apt-config', ['dump', 'Acquire']);
}

/**
 * Where apt finds Debian itself here, and not what else somebody has added: lines for a list of sources.
 * @param work a directory for what apt may have to fetch for that
 */
export function debianSources(work: string): string[] {
  const sources = sourcesKnown([]);
  if (sources.length > 0) return sources;
  // Images for containers come without lists.
  const own = ['-o', `Dir::State::Lists=${join(work, 'lists')}`];
  run('apt-get', [...own, '--quiet', 'update']);
  return sourcesKnown(own);
}

function sourcesKnown(options: readonly string[]): string[] {
  const format = '$(ORIGIN) $(ARCHITECTURE) deb $(REPO_URI) $(RELEASE) $(COMPONENT)';
  const lines = run('apt-get', [...options, 'indextargets', '--format', format, 'Created-By: Packages']);
  const wanted = ['Debian', 'Ubuntu'].map((origin) => `${origin} ${architecture().debian} `);
  return lines.split('\n').flatMap((line) => {
    const prefix = wanted.find((each) => line.startsWith(each));
    return prefix === undefined ? [] : [line.slice(prefix.length)];
  });
}

export function codename(): string {
  const name = /^VERSION_CODENAME=(\w+)$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1];
  if (name === undefined) throw new Error('this is no release of Debian');
  return name;
}

/** With the user's own environment, which may say how the network is reached. */
export function run(
  program: string,
  args: readonly string[],
  environment: Record<string, string> = {},
): string {
  return execFileSync(program, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 2 ** 26,
    env: { ...process.env, ...environment },
  });
}
