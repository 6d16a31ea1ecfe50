import { Link } from "@tanstack/react-router";

import { placeOf } from "./place";

/** Something by its id, or by what it is called: a link to its page where it has one. */
export function Output({ id, children = id, className = "link" }: { id: string; children?: React.ReactNode; className?: string }) {
  const place = placeOf(id);
  if (!place) return <span title={children === id ? undefined : id}>{children}</span>;
  const { what: _, ...to } = place;
  return <Link className={className} {...to}>{children}</Link>;
}
