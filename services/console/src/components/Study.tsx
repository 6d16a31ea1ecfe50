import { Link } from "@tanstack/react-router";

import type { Home } from "../api/homes";

/** A study of an index: its file leads to where it can be looked at, among the samples of the raw dataset. */
export function Study({ home, source, sample }: { home: Home | undefined; source: string; sample: string }) {
  const name = source || sample;
  if (!home?.raw || !source) return <>{name}</>;
  return <Link className="link" to="/datasets/$id" params={{ id: home.raw }} search={{ sample: source }}>{name}</Link>;
}

/** The dataset of a study by its name, with the way there. */
export function HomeLink({ home, id }: { home: Home | undefined; id: string }) {
  return home ? <Link className="link" to="/datasets/$id" params={{ id: home.id }}>{home.label}</Link> : <>{id}</>;
}
