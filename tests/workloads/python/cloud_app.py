"""A thread a connection, and clients of Amazon's services that threads share: cloud_app.py PORT SERVICES.

GET /front?id=N puts an object and takes it back, asks for one that there is not, writes a row twice and reads it, and sends a
message that it receives and deletes. N is in the names of all of them.
"""
import sys

import boto3
from botocore.config import Config
from routes import serve

PORT, SERVICES = int(sys.argv[1]), int(sys.argv[2])


def client(service):
    return boto3.client(
        service,
        region_name="eu-west-1",
        endpoint_url=f"http://127.0.0.1:{SERVICES}",
        aws_access_key_id="AKID",
        aws_secret_access_key="secret",
        config=Config(max_pool_connections=64, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


storage, table, queues = client("s3"), client("dynamodb"), client("sqs")


def refused(error, call, **arguments):
    try:
        call(**arguments)
    except error:
        return
    raise AssertionError("it was to be refused")


def front(number):
    storage.put_object(Bucket="shop", Key=f"receipts/{number}", Body=b"thanks")
    assert storage.get_object(Bucket="shop", Key=f"receipts/{number}")["Body"].read() == b"thanks"
    refused(storage.exceptions.NoSuchKey, storage.get_object, Bucket="shop", Key=f"none/{number}")
    item = {"id": {"S": number}}
    once = {"TableName": "orders", "Item": item, "ConditionExpression": "attribute_not_exists(id)"}
    table.put_item(**once)
    refused(table.exceptions.ConditionalCheckFailedException, table.put_item, **once)
    assert table.get_item(TableName="orders", Key=item)["Item"] == item
    queue = queues.create_queue(QueueName=f"jobs-{number}")["QueueUrl"]
    queues.send_message(QueueUrl=queue, MessageBody=number)
    [message] = queues.receive_message(QueueUrl=queue)["Messages"]
    queues.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


storage.create_bucket(Bucket="shop", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
table.create_table(
    TableName="orders",
    KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
    BillingMode="PAY_PER_REQUEST",
)
serve(PORT, {"/front": front})
