"""The public parameters below /aws/service/global-infrastructure/, made of the endpoint data that botocore has.

Regions, their long names, domains and partitions, the services, and which service is in which region. Botocore knows
no geolocations, zones or addresses of home pages, so those are not made.
"""

from collections.abc import Iterator
from typing import Final

from botocore.exceptions import DataNotFoundError
from botocore.loaders import Loader
from botocore.regions import EndpointResolver

from pilothouse.capabilities.parameters import PublicParameter

PARTITIONS: Final = ("aws", "aws-cn", "aws-us-gov")
_REGIONS: Final = "/aws/service/global-infrastructure/regions"
_SERVICES: Final = "/aws/service/global-infrastructure/services"


def entries() -> list[PublicParameter]:
    """Every entry. Reads the description of every service: this takes seconds."""
    endpoints = Loader().load_data("endpoints")
    resolver = EndpointResolver(endpoints)
    found: list[PublicParameter] = []
    for partition in endpoints["partitions"]:
        if partition["partition"] in PARTITIONS:
            for region, about in partition["regions"].items():
                found += _of_region(region, about["description"], partition["partition"], partition["dnsSuffix"])
    for service, prefix, long_name in _services():
        found.append(PublicParameter(f"{_SERVICES}/{service}", service))
        if long_name:
            found.append(PublicParameter(f"{_SERVICES}/{service}/longName", long_name))
        for partition_name in PARTITIONS:
            for region in resolver.get_available_endpoints(prefix, partition_name):
                found.append(PublicParameter(f"{_SERVICES}/{service}/regions/{region}", region))
                found.append(PublicParameter(f"{_REGIONS}/{region}/services/{service}", service))
    return found


def _of_region(region: str, long_name: str, partition: str, domain: str) -> Iterator[PublicParameter]:
    yield PublicParameter(f"{_REGIONS}/{region}", region)
    for name, value in (("longName", long_name), ("domain", domain), ("partition", partition)):
        yield PublicParameter(f"{_REGIONS}/{region}/{name}", value)


def _services() -> Iterator[tuple[str, str, str]]:
    """Name, endpoint prefix and long name of each service."""
    for name in Loader().list_available_services("service-2"):
        loader = Loader()  # each keeps what it has read: of one service only
        try:
            about = loader.load_service_model(name, "service-2")["metadata"]
        except DataNotFoundError:  # listed, and yet not there
            continue
        yield name, about.get("endpointPrefix", name), about.get("serviceFullName", "")
