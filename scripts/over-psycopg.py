"""The life of a few jobs over psycopg, as a worker in Python would lead it. Takes a connection string."""

import sys
import uuid

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

WORKER = uuid.uuid4()
ROWS = "select * from leasehold."


def main(url: str) -> None:
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as db:

        def call(text: str, *values: object) -> list[dict]:
            return db.execute(text, values).fetchall()

        assert call("select leasehold.create_queue(%s, p_max_failures => %s) as is_new", "py", 2) == [{"is_new": True}]
        with db.transaction():
            [one] = call("select leasehold.enqueue(%s, %s) as id", "py", Jsonb({"order": 1}))
        jobs = Jsonb([{"payload": {"order": n}, "priority": 6} for n in (2, 3, 4)])
        [many] = call("select leasehold.enqueue_many(%s, %s) as ids", "py", jobs)
        leased = call(ROWS + "lease_jobs(%s, %s, %s)", ["py"], WORKER, 10)
        assert [job["job_id"] for job in leased] == [one["id"], *many["ids"]]
        assert [job["payload"] for job in leased] == [{"order": n} for n in (1, 2, 3, 4)]

        ids = [job["job_id"] for job in leased]
        tokens = [job["token"] for job in leased]
        beats = call(ROWS + "heartbeat_many(%s, %s)", ids, tokens)
        assert [beat["status"] for beat in beats] == ["ok"] * 4
        call(ROWS + "heartbeat(%s, %s, p_checkpoint => %s)", ids[0], tokens[0], Jsonb({"at": 1}))
        with db.transaction():
            assert call("select leasehold.assert_lease(%s, %s) as holds", ids[0], tokens[0]) == [{"holds": True}]
            [done] = call(ROWS + "complete(%s, %s, %s)", ids[0], tokens[0], Jsonb(None))
        assert done["status"] == "completed"
        assert call(ROWS + "fail_many(%s, %s, %s)", ids[1:2], tokens[1:2], ["no"])[0]["status"] == "failed"
        assert call(ROWS + "release(%s, %s)", ids[2], tokens[2])[0]["status"] == "released"
        assert call(ROWS + "complete_many(%s, %s)", ids[3:], tokens[3:])[0]["status"] == "completed"
        assert call(ROWS + "job(%s)", ids[0])[0]["checkpoint"] == {"at": 1}
        assert call("select leasehold.pause_queue(%s) as changed", "py") == [{"changed": True}]
        assert call(ROWS + "queue_stats()")[0]["completed"] == 2
        assert call(ROWS + "tick()")[0]["workers"] == 0
        try:
            call("select leasehold.complete(%s, %s)", ids[2], tokens[2])
        except psycopg.Error as error:
            assert error.sqlstate == "LH001", error.sqlstate
        else:
            raise AssertionError("a token that was retired is refused")


main(sys.argv[1])
print("psycopg " + psycopg.__version__ + ": passed")
