import { join } from 'node:path';
import type { User } from '../../linux/connect-as.ts';
import type { Subject } from '../quiescer.ts';
import { relativeLink, writeLink } from './amend.ts';
import type { Place } from './layout.ts';

/**
 * The links of a copy lead where those of the live cluster do: a server that is started on a copy would write there. Those to the
 * inside of the volume are made relative, so that they stay in whatever copy; those to other volumes lead nowhere until who starts a
 * copy says where the copies of those are.
 */
export async function turnLinks(
  copy: number,
  places: readonly Place[],
  subject: Subject,
  below: string,
  owner: User,
): Promise<void> {
  for (const { name, link, within } of places) {
    if (link === undefined) continue;
    const isInside = within?.subject.volume === subject.volume;
    if (isInside && within) {
      await writeLink(copy, name, relativeLink(join(below, name), within.path), owner);
    } else if (within) {
      await writeLink(copy, name, nowhere(within.subject.volume, within.path), owner);
    }
  }
}

/** A path that is never there. */
export function nowhere(volume: string, path: string): string {
  return join('/nonexistent/coppice', volume, path);
}

/** The volume and path that such a link stands for. */
export function meantBy(link: string): { readonly volume: string; readonly path: string } | undefined {
  const [, volume = '', path = ''] = /^\/nonexistent\/coppice\/([^/]+)(?:\/(.*))?$/s.exec(link) ?? [];
  return volume === '' ? undefined : { volume, path };
}
