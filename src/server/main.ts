import { runFirst } from '../linux/priority.ts';
import { notifySystemd, watchdogInterval } from './listen/systemd.ts';
import { keepHeapSmall } from './memory.ts';
import { readServeFlags, type ServeFlags } from './options.ts';
import { startServer } from './server.ts';

/** Serves until the process is told to end. @throws CoppiceError when it can't begin */
export async function serve(process: NodeJS.Process, flags: ServeFlags): Promise<void> {
  if (flags.install) {
    const { install } = await import('./install.ts');
    return install(process, flags);
  }
  const options = readServeFlags(flags, process.env, (line) => process.stderr.write(line));
  const { log } = options;
  // Before it says that it is ready: whoever hears that may stop it in the same moment.
  const signalled = new Promise<string>((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.once(name, () => resolve(name));
  });
  // Many threads work for it: to say what they have done comes before doing more.
  runFirst();
  keepHeapSmall();
  const server = await startServer(options);
  for (const address of server.addresses) log.info('listening', { address });
  notifySystemd(process.env, 'READY=1', `STATUS=Serving ${[...options.pools.keys()].join(', ')}`);
  const interval = watchdogInterval(process.env);
  const watchdog = interval && setInterval(() => notifySystemd(process.env, 'WATCHDOG=1'), interval);
  const signal = await signalled;
  log.info('stopping', { signal });
  notifySystemd(process.env, 'STOPPING=1');
  await server.close();
  if (watchdog) clearInterval(watchdog);
  log.info('stopped');
}
