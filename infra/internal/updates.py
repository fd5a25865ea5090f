"""Updates of a table that are refused, in preview too: only the engine knows what there is."""

import pulumi

from infra.rules.view import value_at


def guard_updates(table: str, confirmed_drained: str | None) -> pulumi.ResourceHook:
    """Refuses, in preview too, updates of a table that lose changes or that AWS refuses halfway.

    Another view type ends the stream: `confirmed_drained` names the stream that may end. A time to live is switched
    off by the name of its attribute, and moves to another one in two updates: for up to an hour after the first, AWS
    refuses to change it again (API reference of UpdateTimeToLive, November 2026).
    """

    def check(args: pulumi.ResourceHookArgs) -> None:
        old, new = args.old_inputs or {}, args.new_inputs or {}
        stream, view_type = (args.old_outputs or {}).get("streamArn"), old.get("streamViewType")
        if view_type and view_type != new.get("streamViewType") and stream != confirmed_drained:
            raise pulumi.RunError(
                f"{table}: view type {new.get('streamViewType')} in place of {view_type} ends the stream and begins "
                "another: nobody reads what the old one still holds, and no stream has what is written in between. "
                "Stop the writers, wait until every reader's IteratorAge is 0, and confirm with: "
                f"pulumi config set --path '{pulumi.get_project()}:confirmedDrained.{table}' {stream}"
            )
        expires, named = value_at(old, "ttl", "attributeName"), value_at(new, "ttl", "attributeName")
        if value_at(old, "ttl", "enabled") and expires != named:
            move = f", and an hour later update with ttl={named!r}" if value_at(new, "ttl", "enabled") else ""
            raise pulumi.RunError(
                f"{table}: the time to live is on, by {expires}: AWS switches it off by that name alone. Update with "
                f"former_ttl={expires!r} in place of ttl{move}"
            )

    return pulumi.ResourceHook(f"{table}-updates", check, pulumi.ResourceHookOptions(on_dry_run=True))
