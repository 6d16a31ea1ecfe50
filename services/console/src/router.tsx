import type { QueryClient } from "@tanstack/react-query";
import { createRootRoute, createRoute, createRouter, lazyRouteComponent, retainSearchParams } from "@tanstack/react-router";

import { OUTCOMES } from "./api/admin";
import { STATES } from "./api/live";
import { type JobFilters, type Level, LEVELS } from "./api/queries";
import { Failure } from "./components/Failure";
import { NotThere } from "./components/NotThere";
import { Shell } from "./Shell";

/** Addresses people can read and write: ?state=running,queued&kind=pretrain */
type Raw = Record<string, unknown>;

const text = (value: unknown): string | undefined => (typeof value === "string" && value ? value : undefined);
const words = (value: unknown): string[] | undefined => {
  const found = (Array.isArray(value) ? value.map(String) : text(value)?.split(",") ?? []).filter(Boolean);
  return found.length ? found : undefined;
};
function among<T extends string>(value: unknown, allowed: readonly T[]): T[] | undefined {
  const found = words(value)?.filter((each): each is T => (allowed as readonly string[]).includes(each));
  return found?.length ? found : undefined;
}

export const TASKS = ["encoder", "classification", "segmentation"] as const;
export const ROLES = ["raw", "prepared", "buffer"] as const;
/** What a map of studies is coloured by; `made` is the day on which the dataset of a study was made. */
export const COLUMNS = ["label", "dataset", "split", "modality", "made"] as const;
export const MODALITIES = ["report", "xray", "ct", "mr", "pathology"] as const;

/** A page, fetched when it is first asked for. While the platform does not answer it waits: of a page that cannot be fetched
 * comes a reload, which mends an old console after an upgrade and would lose the console before a platform that is down.
 */
const patient = <T,>(get: () => Promise<T>) => () => get().catch(async () => {
  await answering();
  return get();
});

async function answering(): Promise<void> {
  for (let pause = 500; !(await fetch("/console/", { cache: "no-store" }).catch(() => null)); pause = Math.min(2 * pause, 5000)) {
    await new Promise((resume) => setTimeout(resume, pause));
  }
}

const root = createRootRoute({
  component: Shell,
  notFoundComponent: NotThere,
  errorComponent: ({ error }) => <Failure error={error} />,
  validateSearch: (given: Raw): { project?: string | undefined } => ({ project: text(given.project) }),
  search: { middlewares: [retainSearchParams(["project"])] },
});

const home = createRoute({ getParentRoute: () => root, path: "/", component: lazyRouteComponent(patient(() => import("./pages/Home"))) });

export type JobsSearch = Omit<JobFilters, "project">;
const jobs = createRoute({
  getParentRoute: () => root,
  path: "/jobs",
  component: lazyRouteComponent(patient(() => import("./pages/Jobs"))),
  validateSearch: (given: Raw): JobsSearch => ({
    state: among(given.state, STATES),
    kind: words(given.kind),
    name: text(given.name),
    tag: text(given.tag),
    created_by: text(given.created_by),
    sort: text(given.sort),
  }),
});

export interface NewJobSearch {
  kind?: string | undefined;
  /** A job whose parameters the form begins with. */
  from?: string | undefined;
  /** What the form holds, as JSON. */
  form?: string | undefined;
}
const newJob = createRoute({
  getParentRoute: () => root,
  path: "/jobs/new",
  component: lazyRouteComponent(patient(() => import("./pages/NewJob"))),
  validateSearch: (given: Raw): NewJobSearch => ({ kind: text(given.kind), from: text(given.from), form: text(given.form) }),
});

const newCurriculum = createRoute({
  getParentRoute: () => root,
  path: "/curricula/new",
  component: lazyRouteComponent(patient(() => import("./pages/NewCurriculum"))),
  validateSearch: (given: Raw): { form?: string | undefined } => ({ form: text(given.form) }),
});

export interface JobSearch {
  with?: string[] | undefined;
  curves?: string[] | undefined;
  tab?: "curves" | "log" | "attempts" | "spec" | "files" | undefined;
  /** What the log is searched for, and the least level of its lines. */
  q?: string | undefined;
  level?: Level | undefined;
}
const job = createRoute({
  getParentRoute: () => root,
  path: "/jobs/$id",
  component: lazyRouteComponent(patient(() => import("./pages/Job"))),
  validateSearch: (given: Raw): JobSearch => ({
    with: words(given.with)?.slice(0, 7),
    curves: words(given.curves),
    tab: among(given.tab, ["curves", "log", "attempts", "spec", "files"] as const)?.[0],
    q: text(given.q), level: among(given.level, LEVELS)?.[0],
  }),
});

export interface DatasetsSearch {
  role?: (typeof ROLES)[number][] | undefined;
  modality?: (typeof MODALITIES)[number][] | undefined;
  name?: string | undefined;
}
const datasets = createRoute({
  getParentRoute: () => root,
  path: "/datasets",
  component: lazyRouteComponent(patient(() => import("./pages/Datasets"))),
  validateSearch: (given: Raw): DatasetsSearch => ({
    role: among(given.role, ROLES), modality: among(given.modality, MODALITIES), name: text(given.name),
  }),
});

const upload = createRoute({ getParentRoute: () => root, path: "/datasets/upload", component: lazyRouteComponent(patient(() => import("./pages/Upload"))) });

export const DATASET_TABS = ["samples", "numbers", "bad", "files", "versions"] as const;
export interface DatasetSearch {
  tab?: (typeof DATASET_TABS)[number] | undefined;
  /** Samples that an inspection has drawn, where files can be looked at, too. */
  from?: "inspection" | undefined;
  /** The chosen sample, and what the list of samples is narrowed to. */
  sample?: string | undefined;
  split?: string | undefined;
  label?: string | undefined;
  /** Part of the names of samples. */
  q?: string | undefined;
}
const dataset = createRoute({
  getParentRoute: () => root,
  path: "/datasets/$id",
  component: lazyRouteComponent(patient(() => import("./pages/Dataset"))),
  validateSearch: (given: Raw): DatasetSearch => ({
    tab: among(given.tab, DATASET_TABS)?.[0], from: among(given.from, ["inspection"] as const)?.[0], sample: text(given.sample),
    split: text(given.split), label: text(given.label), q: text(given.q),
  }),
});

export interface ModelsSearch {
  task?: (typeof TASKS)[number][] | undefined;
  modality?: (typeof MODALITIES)[number][] | undefined;
  name?: string | undefined;
}
const models = createRoute({
  getParentRoute: () => root,
  path: "/models",
  component: lazyRouteComponent(patient(() => import("./pages/Models"))),
  validateSearch: (given: Raw): ModelsSearch => ({
    task: among(given.task, TASKS), modality: among(given.modality, MODALITIES), name: text(given.name),
  }),
});

export interface PipelinesSearch {
  state?: (typeof STATES)[number][] | undefined;
  name?: string | undefined;
}
const pipelines = createRoute({
  getParentRoute: () => root,
  path: "/pipelines",
  component: lazyRouteComponent(patient(() => import("./pages/Pipelines"))),
  validateSearch: (given: Raw): PipelinesSearch => ({ state: among(given.state, STATES), name: text(given.name) }),
});
const pipeline = createRoute({
  getParentRoute: () => root,
  path: "/pipelines/$pipelineId",
  component: lazyRouteComponent(patient(() => import("./pages/Pipeline"))),
});

export interface TrySearch {
  model?: string | undefined;
  index?: string | undefined;
}
const trying = createRoute({
  getParentRoute: () => root,
  path: "/try",
  component: lazyRouteComponent(patient(() => import("./pages/Try"))),
  validateSearch: (given: Raw): TrySearch => ({ model: text(given.model), index: text(given.index) }),
});

const MODEL_TABS = ["line", "scores", "origins", "card", "promote", "serve"] as const;
export interface ModelSearch {
  tab?: (typeof MODEL_TABS)[number] | undefined;
}
const model = createRoute({
  getParentRoute: () => root,
  path: "/models/$modelId",
  component: lazyRouteComponent(patient(() => import("./pages/Model"))),
  validateSearch: (given: Raw): ModelSearch => ({ tab: among(given.tab, MODEL_TABS)?.[0] }),
});

export interface EvaluationsSearch {
  id?: string[] | undefined;
}
const evaluations = createRoute({
  getParentRoute: () => root,
  path: "/evaluations",
  component: lazyRouteComponent(patient(() => import("./pages/Evaluations"))),
  validateSearch: (given: Raw): EvaluationsSearch => ({ id: words(given.id)?.slice(0, 20) }),
});

const ADMIN_TABS = ["keys", "projects", "audit", "limits"] as const;
export interface AdminSearch {
  tab?: (typeof ADMIN_TABS)[number] | undefined;
  actor?: string | undefined;
  route?: string | undefined;
  outcome?: (typeof OUTCOMES)[number][] | undefined;
  days?: string | undefined;
}
const admin = createRoute({
  getParentRoute: () => root,
  path: "/admin",
  component: lazyRouteComponent(patient(() => import("./pages/Admin"))),
  validateSearch: (given: Raw): AdminSearch => ({
    tab: among(given.tab, ADMIN_TABS)?.[0], actor: text(given.actor), route: text(given.route), outcome: among(given.outcome, OUTCOMES),
    days: text(given.days),
  }),
});

export interface MapSearch {
  /** By name, or by id. */
  index?: string | undefined;
  by?: (typeof COLUMNS)[number] | undefined;
}
const map = createRoute({
  getParentRoute: () => root,
  path: "/map",
  component: lazyRouteComponent(patient(() => import("./pages/Map"))),
  validateSearch: (given: Raw): MapSearch => ({ index: text(given.index), by: among(given.by, COLUMNS)?.[0] }),
});

const newIndex = createRoute({
  getParentRoute: () => root,
  path: "/map/new",
  component: lazyRouteComponent(patient(() => import("./pages/NewIndex"))),
  validateSearch: (given: Raw): { form?: string | undefined } => ({ form: text(given.form) }),
});

const tree = root.addChildren([
  home, jobs, newJob, newCurriculum, job, pipelines, pipeline, datasets, upload, dataset, models, model, evaluations, trying, map, newIndex, admin,
]);

function parseSearch(search: string): Raw {
  return Object.fromEntries(new URLSearchParams(search));
}

function stringifySearch(search: Raw): string {
  const found = Object.entries(search).flatMap(([name, value]) => {
    const written = Array.isArray(value) ? value.join(",") : value == null ? "" : String(value);
    return written ? [`${name}=${encodeURIComponent(written).replaceAll("%2C", ",")}`] : [];
  });
  return found.length ? `?${found.join("&")}` : "";
}

export function makeRouter(queries: QueryClient) {
  return createRouter({
    routeTree: tree, basepath: "/console", parseSearch, stringifySearch, context: { queries }, scrollRestoration: true,
    defaultPreload: "intent",
    // within the frame, so that the menu stays
    defaultErrorComponent: ({ error }) => <Failure error={error} retry={() => window.location.reload()} />,
  });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
