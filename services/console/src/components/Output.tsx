import { Link } from "@tanstack/react-router";

/** Something that a job made, by its id: a link to its page where it has one. */
export function Output({ id }: { id: string }) {
  if (id.startsWith("ds_")) return <Link className="link" to="/datasets/$id" params={{ id }}>{id}</Link>;
  if (id.startsWith("mdl_")) return <Link className="link" to="/models/$modelId" params={{ modelId: id }}>{id}</Link>;
  if (id.startsWith("evl_")) return <Link className="link" to="/evaluations" search={{ id: [id] }}>{id}</Link>;
  return id;
}
