import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { builtCommand } from '../support/built.ts';
import { scratchDirectory } from '../support/devices.ts';
import { mark } from '../support/marks.ts';

const bashCompletion = '/usr/share/bash-completion/bash_completion';

/** Keys that a shell is told to understand: complete; put all candidates into the line; write the line down. */
const [tab, all, note] = ['\t', '\x14', '\x07'];

/** The shells that completion is for, each with the files that show that it is there. */
export const shells: ReadonlyArray<{
  readonly name: string;
  readonly needs: readonly string[];
  readonly complete: (pool: string, lines: readonly string[], how?: 'all') => Promise<string[]>;
}> = [
  {
    name: 'bash',
    needs: ['/usr/bin/bash', '/usr/bin/script'],
    complete: (pool, lines, how) => onTerminal(pool, lines, how, bash('')),
  },
  {
    name: 'bash with bash-completion',
    needs: ['/usr/bin/bash', '/usr/bin/script', bashCompletion],
    complete: (pool, lines, how) => onTerminal(pool, lines, how, bash(`source ${bashCompletion}`)),
  },
  {
    name: 'zsh',
    needs: ['/usr/bin/zsh', '/usr/bin/script'],
    complete: (pool, lines, how) => onTerminal(pool, lines, how, zsh),
  },
  {
    name: 'fish',
    needs: ['/usr/bin/fish'],
    complete: async (pool, lines, how) => lines.map((line) => inFish(pool, line, how)),
  },
];

interface Shell {
  readonly command: (directory: string) => readonly [program: string, ...args: string[]];
  readonly startFile: (directory: string) => readonly [name: string, text: string];
}

function bash(before: string): Shell {
  return {
    command: (directory) => ['bash', '--noprofile', '--rcfile', join(directory, 'rc'), '-i'],
    startFile: (directory) => [
      'rc',
      `PS1='ready> '; shopt -u progcomp_alias
${before}
source <(coppice completion bash)
bind 'set bell-style none'; bind 'set completion-query-items 0'; bind 'set page-completions off'
bind '"\\C-t": insert-completions'
bind -x '"\\C-g": printf "%s\\n" "$READLINE_LINE" >> ${join(directory, 'noted')}'
`,
    ],
  };
}

const zsh: Shell = {
  command: (directory) => ['env', `ZDOTDIR=${directory}`, 'zsh', '-d', '-i'],
  startFile: (directory) => [
    '.zshrc',
    `PS1='ready> '; unsetopt beep; setopt no_list_ambiguous
autoload -Uz compinit; compinit -D -u
source <(coppice completion zsh)
zstyle ':completion:all:*' completer _all_matches _complete
zstyle ':completion:all:*' insert true
zle -C all complete-word _generic; bindkey '^T' all
note() { print -r -- "$BUFFER" >> ${join(directory, 'noted')} }; zle -N note; bindkey '^G' note
bindkey '^U' kill-whole-line
`,
  ],
};

/** Types lines into an interactive shell on a pseudo-terminal, and returns what completion made of each. */
async function onTerminal(
  pool: string,
  lines: readonly string[],
  how: 'all' | undefined,
  { command, startFile }: Shell,
): Promise<string[]> {
  const directory = scratchDirectory('shell');
  const [name, text] = startFile(directory);
  writeFileSync(join(directory, name), text);
  const noted = join(directory, 'noted');
  const child = spawn('script', ['-qec', command(directory).join(' '), '/dev/null'], {
    env: environment(pool, directory),
    stdio: ['pipe', 'pipe', 'ignore'],
    cwd: dirname(pool),
  });
  const ended = new Promise((resolve) => child.on('close', resolve));
  await using _shell = {
    async [Symbol.asyncDispose](): Promise<void> {
      child.kill();
      await ended;
    },
  };
  let screen = '';
  child.stdout.on('data', (chunk: Buffer) => {
    screen += chunk;
  });
  await until(
    () => screen.includes('ready> '),
    () => screen,
  );
  const written = (): string[] =>
    existsSync(noted) ? readFileSync(noted, 'utf8').split('\n').slice(0, -1) : [];
  for (const [index, line] of lines.entries()) {
    child.stdin.write(`\x15${line}${how === 'all' ? all : tab}${note}`);
    await until(
      () => written().length > index,
      () => screen,
    );
  }
  return written();
}

/** fish says itself what it would do with a line. */
function inFish(pool: string, line: string, how: 'all' | undefined): string {
  const directory = scratchDirectory('shell');
  const { stdout } = spawnSync(
    'fish',
    ['--no-config', '--command', 'coppice completion fish | source; complete --do-complete $argv[1]', line],
    { env: environment(pool, directory), encoding: 'utf8', cwd: dirname(pool) },
  );
  const candidates = stdout
    .split('\n')
    .slice(0, -1)
    .map((each) => each.split('\t')[0] ?? '');
  const typed = line.slice(0, line.lastIndexOf(' ') + 1);
  if (how === 'all') return typed + candidates.map((each) => `${each} `).join('');
  return candidates.length === 1
    ? `${typed}${candidates[0]}${/[@=/]$/.test(candidates[0] ?? '') ? '' : ' '}`
    : line;
}

/** In which the built command is called coppice, as users have it. */
function environment(pool: string, directory: string): NodeJS.ProcessEnv {
  const bin = join(directory, 'bin');
  mkdirSync(bin);
  writeFileSync(join(bin, 'coppice'), `#!/bin/sh\nexec '${process.execPath}' '${builtCommand()}' "$@"\n`, {
    mode: 0o755,
  });
  const path = `${bin}:/usr/bin:/bin`;
  return {
    PATH: path,
    COPPICE_POOL: pool,
    HOME: directory,
    TERM: 'xterm-256color',
    LC_ALL: 'C.UTF-8',
    ...mark(),
  };
}

async function until(isSo: () => boolean, screen: () => string): Promise<void> {
  for (let tries = 0; tries < 3000; tries++) {
    if (isSo()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`The shell did not answer; its screen: ${JSON.stringify(screen())}`);
}
