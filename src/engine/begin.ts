import { speedUpLoop } from '../linux/loops.ts';
import { fileSystemSpace } from '../linux/space.ts';
import { xfsMagic } from '../linux/xfs.ts';
import type { Context, Host } from './context.ts';
import { sweep } from './sweep.ts';

const ext4Magic = 0xef53;

/** What is done once, when a pool is opened. */
export function begin(context: Context): void {
  const { metadata, host } = context;
  if (host && metadata.backing.type === 'loop' && process.geteuid?.() === 0) speedUp(host);
  sweep(context);
}

/**
 * Not on hosts that copy on write themselves: there direct I/O can spoil checksums (a file system above may change a page while it
 * is written; btrfs does without direct I/O for that reason from kernel 6.15 on) and breaks the file into pieces.
 */
function speedUp({ fd, device }: Host): void {
  const { type } = fileSystemSpace(fd);
  if (type !== ext4Magic && type !== xfsMagic) return;
  try {
    speedUpLoop(device);
  } catch {
    // It works without: in a container, or where the host's blocks are larger.
  }
}
