import type { ServeFlags } from './options.ts';

export function install(process: NodeJS.Process, flags: ServeFlags): void {
  process.stdout.write(`${JSON.stringify(flags)}\n`);
}
