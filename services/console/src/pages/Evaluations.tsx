import { Alert, Breadcrumbs, Card, SimpleGrid, Stack, Text, Title } from "@mantine/core";
import { useQueries, useQuery } from "@tanstack/react-query";
import { Link, useSearch } from "@tanstack/react-router";
import { useMemo } from "react";

import { casesQuery, comparisonQuery, type Evaluation, evaluationFilesQuery, evaluationQuery } from "../api/models";
import { Failure } from "../components/Failure";
import { Matrix } from "../components/Matrix";
import { percent } from "../format";
import { Heading } from "../Shell";
import { Boxes } from "./evaluations/Boxes";
import { Metrics } from "./evaluations/Metrics";
import { Roc } from "./evaluations/Roc";
import { Worst } from "./evaluations/Worst";

/** One evaluation, or several side by side. */
export default function Evaluations() {
  const { id } = useSearch({ from: "/evaluations" });
  const ids = id ?? [];
  const found = useQueries({ queries: ids.map((each) => evaluationQuery(each)) });
  const compared = useQuery(comparisonQuery(ids));
  const error = found.find((each) => each.error)?.error ?? compared.error;
  const shown = found.flatMap((each) => (each.data ? [each.data] : []));
  const first = shown[0];
  return (
    <>
      <Breadcrumbs mb="xs"><Link className="link" to="/models">Models</Link><Text size="sm" c="dimmed">Evaluations</Text></Breadcrumbs>
      <Heading>{ids.length > 1 ? "Models compared" : (first?.model_name ?? "Evaluation")}</Heading>
      {ids.length === 0 && <Text>Choose evaluations on the page of a model.</Text>}
      {error && <Failure error={error} />}
      {first && shown.length === ids.length && !error && (
        <Stack>
          <Text size="sm">{first.dataset_name}, split {first.split}{first.grid ? `, scored on the ${first.grid} grid` : ""}</Text>
          {compared.data && Object.entries(compared.data.unpaired).map(([each, why]) => (
            <Alert key={each} color="orange" variant="light" title="Not paired">{shown.find((one) => one.id === each)?.model_name ?? each}: {why}</Alert>
          ))}
          <Metrics shown={shown} compared={compared.data} />
          <Cases shown={shown} />
          <Pictures shown={shown} />
        </Stack>
      )}
    </>
  );
}

function Cases({ shown }: { shown: readonly Evaluation[] }) {
  const found = useQueries({ queries: shown.map((each) => casesQuery(each.id)) });
  const all = found.every((each) => each.data);
  const cases = useMemo(() => found.map((each) => each.data ?? []), [all]); // the answers do not change
  const names = shown.map((each, at) => (shown.findIndex((other) => other.model_name === each.model_name) === at ? each.model_name : `${each.model_name} (${each.id.slice(-4)})`));
  const classes = shown[0]?.classes ?? [];
  const error = found.find((each) => each.error)?.error;
  return (
    <>
      {error && <Failure error={error} />}
      <SimpleGrid cols={{ base: 1, lg: 2 }}>
        {all && shown[0]?.task === "classification" && <Roc names={names} cases={cases} classes={classes} />}
        {all && shown[0]?.task === "segmentation" && <Boxes names={names} cases={cases} classes={classes} />}
        {shown.map((each, at) => each.confusion && <Confusion key={each.id} of={each} name={names[at] ?? ""} />)}
        {all && <Worst names={names} cases={cases} classes={classes} />}
      </SimpleGrid>
    </>
  );
}

function Confusion({ of, name }: { of: Evaluation; name: string }) {
  const rows = (of.confusion ?? []).map((counts, at) => {
    const total = counts.reduce((sum, each) => sum + each, 0);
    return {
      id: of.classes[at] ?? String(at), name: of.classes[at],
      cells: counts.map((count) => ({ text: `${count}${total ? ` · ${percent(count / total)}` : ""}`, share: total ? count / total : null })),
    };
  });
  return (
    <Card withBorder component="section" aria-label={`Confusion of ${name}`}>
      <Title order={2} size="h4" mb="xs">Confusion, {name}</Title>
      <Matrix label={`Confusion of ${name}`} corner="true, then predicted" columns={of.classes} rows={rows} />
    </Card>
  );
}

/** Pictures that the evaluation has drawn: of segmenters the best, the median and the worst case. */
function Pictures({ shown }: { shown: readonly Evaluation[] }) {
  const found = useQueries({ queries: shown.map((each) => evaluationFilesQuery(each.id)) });
  return (
    <SimpleGrid cols={{ base: 1, lg: 2 }}>
      {shown.flatMap((each, at) =>
        (found[at]?.data ?? []).filter((file) => /^(overlay|reliability|forgetting)\.png$/.test(file.path)).map((file) => (
          <figure key={file.url} style={{ margin: 0 }}>
            <img className="picture" src={file.url} alt={`${file.path.replace(".png", "")} of ${each.model_name}`} loading="lazy" />
            <Text component="figcaption" size="xs" c="dimmed">
              {file.path === "overlay.png" ? "the best, the median and the worst case" : file.path.replace(".png", "")}, {each.model_name}
            </Text>
          </figure>
        )))}
    </SimpleGrid>
  );
}
