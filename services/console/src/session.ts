import { useSyncExternalStore } from "react";

const KEY = "medcoss.key";

/** Whose key is used, and why the last one no longer is. The key lives as long as the tab. */
export interface Session {
  key: string | null;
  ended: string | null;
}

let current: Session = { key: sessionStorage.getItem(KEY), ended: null };
const watchers = new Set<() => void>();

function change(next: Session): void {
  current = next;
  if (next.key === null) sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, next.key);
  for (const each of watchers) each();
}

export const session = {
  now: (): Session => current,
  begin: (key: string): void => change({ key, ended: null }),
  /** The key no longer opens: `why` is what the platform said. A key that was changed meanwhile stays. */
  end: (why: string | null, key: string | null = current.key): void => {
    if (current.key === key) change({ key: null, ended: why });
  },
};

function watch(told: () => void): () => void {
  watchers.add(told);
  return () => watchers.delete(told);
}

export function useSession(): Session {
  return useSyncExternalStore(watch, session.now);
}
