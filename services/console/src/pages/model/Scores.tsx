import { Button, Checkbox, Group, Stack, Text } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";

import type { Model } from "../../api/client";
import { type Evaluation, evaluationsQuery } from "../../api/models";
import { Failure } from "../../components/Failure";
import { More } from "../../components/More";
import { ago, moment, number } from "../../format";

/** The evaluations of a model, and those of others on the same data to compare them with. */
export function Scores({ model }: { model: Model }) {
  const own = useInfiniteQuery(evaluationsQuery({ model: [model.id] }));
  const mine = (own.data?.pages.flatMap((page) => page.items) ?? []).filter((each) => each.task !== "forgetting");
  const datasets = [...new Set(mine.map((each) => each.dataset_id))];
  const others = useInfiniteQuery({ ...evaluationsQuery({ dataset: datasets, task: mine[0] ? [mine[0].task] : undefined }), enabled: datasets.length > 0 });
  const rows = [...mine, ...(others.data?.pages.flatMap((page) => page.items) ?? []).filter((each) => each.model_id !== model.id)];
  const [chosen, setChosen] = useState<readonly string[]>([]);
  if (own.error) return <Failure error={own.error} />;
  if (own.isSuccess && !mine.length && !own.hasNextPage) return <Text size="sm" c="dimmed">It has not been evaluated. A job of the kind evaluate scores a classifier or a segmenter on held-out data.</Text>;
  const first = rows.find((each) => each.id === chosen[0]);
  const fits = (each: Evaluation) => !first || (each.dataset_id === first.dataset_id && each.split === first.split && each.task === first.task);
  return (
    <Stack gap="sm">
      <Group>
        <Button disabled={!chosen.length} component={Link} {...({ to: "/evaluations", search: { id: [...chosen] } } as object)}>
          {chosen.length > 1 ? `Compare ${chosen.length}` : "Look at it"}
        </Button>
        <Text size="sm" c="dimmed">Choose evaluations of one split of one dataset; the first one is what the others are compared with.</Text>
      </Group>
      <div className="scroll" tabIndex={0} role="region" aria-label="Evaluations">
        <table className="rows">
          <thead>
            <tr>
              <th scope="col"><span className="unseen">Chosen</span></th><th scope="col">Model</th><th scope="col">Data</th><th scope="col" className="num">Score</th>
              <th scope="col" className="num">95 % interval</th><th scope="col" className="num">Made</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((each) => (
              <tr key={each.id}>
                <td>
                  <Checkbox aria-label={`Choose ${each.name}`} checked={chosen.includes(each.id)} disabled={!fits(each)}
                    onChange={() => setChosen((old) => (old.includes(each.id) ? old.filter((id) => id !== each.id) : [...old, each.id]))} />
                </td>
                <td><Link className="link" to="/evaluations" search={{ id: [each.id] }}>{each.model_name}</Link><Text size="xs" c="dimmed">{each.name}</Text></td>
                <td>{each.dataset_name}, {each.split}</td>
                <td className="num">{each.headline} {number(each.score)}</td>
                <td className="num">{interval(each)}</td>
                <td className="num" title={moment(each.created_at)}>{ago(each.created_at)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <Group>
        <More of={own}>More of this model</More>
        <More of={others}>More of other models on the same data</More>
      </Group>
    </Stack>
  );
}

function interval(of: Evaluation): string {
  const ends = of.intervals[of.headline] as [number, number] | undefined;
  return ends ? `${number(ends[0])} to ${number(ends[1])}` : "–";
}
