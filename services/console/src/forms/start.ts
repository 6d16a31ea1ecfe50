import type { Me } from "../api/client";
import type { Values } from "./schema";

/** The form of a new job that begins with something, in the project of that. */
export function newJob(me: Me, project_id: string, kind: string, spec: Values) {
  const project = me.projects.length > 1 ? project_id : undefined;
  return { to: "/jobs/new", search: { kind, form: JSON.stringify({ spec, project }) } as never } as const;
}

/** The form of a new index that begins with an encoder, in the project of that. */
export function newIndex(me: Me, project_id: string, encoder: string) {
  const project = me.projects.length > 1 ? me.projects.find((each) => each.id === project_id)?.name : undefined;
  return { to: "/map/new", search: { ...(project ? { project } : {}), form: JSON.stringify({ encoder }) } as never } as const;
}
