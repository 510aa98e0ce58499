"""Hosts of Amazon ECR, hosts that only look like them, and how one of them is served on loopback."""

from __future__ import annotations

from webhook import settings

ACCOUNT = "111122223333"
HOST = f"{ACCOUNT}.dkr.ecr.us-west-2.amazonaws.com"
ELSEWHERE = "registry.example.com"
OWN = "team/app"
STORAGE = "prod-us-west-2-starport-layer-bucket.s3.us-west-2.amazonaws.com"

# region, partition, whether FIPS, whether dual-stack
REGISTRIES = {
    HOST: ("us-west-2", "aws", False, False),
    f"{ACCOUNT}.dkr.ecr-fips.us-west-2.amazonaws.com": ("us-west-2", "aws", True, False),
    f"{ACCOUNT}.dkr-ecr.us-west-2.on.aws": ("us-west-2", "aws", False, True),
    f"{ACCOUNT}.dkr-ecr-fips.us-west-2.on.aws": ("us-west-2", "aws", True, True),
    f"{ACCOUNT}.DKR.ECR.US-WEST-2.AmazonAWS.com": ("us-west-2", "aws", False, False),
    f"{ACCOUNT}.dkr.ecr.ap-southeast-7.amazonaws.com": ("ap-southeast-7", "aws", False, False),
    f"{ACCOUNT}.dkr.ecr.mx-central-1.amazonaws.com": ("mx-central-1", "aws", False, False),
    f"{ACCOUNT}.dkr.ecr.us-gov-west-1.amazonaws.com": ("us-gov-west-1", "aws-us-gov", False, False),
    f"{ACCOUNT}.dkr.ecr-fips.us-gov-east-1.amazonaws.com": ("us-gov-east-1", "aws-us-gov", True, False),
    f"{ACCOUNT}.dkr-ecr.us-gov-west-1.on.aws": ("us-gov-west-1", "aws-us-gov", False, True),
    f"{ACCOUNT}.dkr.ecr.cn-northwest-1.amazonaws.com.cn": ("cn-northwest-1", "aws-cn", False, False),
    f"{ACCOUNT}.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn": ("cn-north-1", "aws-cn", False, True),
    f"{ACCOUNT}.dkr.ecr.eusc-de-east-1.amazonaws.eu": ("eusc-de-east-1", "aws-eusc", False, False),
    f"{ACCOUNT}.dkr.ecr.us-iso-east-1.c2s.ic.gov": ("us-iso-east-1", "aws-iso", False, False),
    f"{ACCOUNT}.dkr.ecr.us-isob-east-1.sc2s.sgov.gov": ("us-isob-east-1", "aws-iso-b", False, False),
    f"{ACCOUNT}.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk": ("eu-isoe-west-1", "aws-iso-e", False, False),
    f"{ACCOUNT}.dkr.ecr.us-isof-south-1.csp.hci.ic.gov": ("us-isof-south-1", "aws-iso-f", False, False),
}
STRANGERS = {
    "a label behind": f"{HOST}.evil.example",
    "a label in front": f"evil.{HOST}",
    "a port": f"{HOST}:8443",
    "the default port": f"{HOST}:443",
    "a trailing dot": f"{HOST}.",
    "a leading dot": f".{HOST}",
    "a blank": f"{HOST} ",
    "a line feed": f"{HOST}\n",
    "a path": f"{HOST}/x",
    "a user name": f"me@{HOST}",
    "a scheme": f"https://{HOST}",
    "nothing": "",
    "the suffix alone": "amazonaws.com",
    "an account of 11": HOST[1:],
    "an account of 13": f"1{HOST}",
    "an account of letters": HOST.replace(ACCOUNT, "abcdefabcdef"),
    "an account in wide digits": HOST.replace("1", "\uff11"),
    "an account in Arabic digits": HOST.replace("1", "\u0661"),
    "any account": HOST.replace(ACCOUNT, "*"),
    "a Kelvin sign": HOST.replace("dkr", "d\u212ar"),
    "a long s": HOST.replace("us-west", "u\u017f-west"),
    "a Cyrillic a": HOST.replace("amazon", "\u0430mazon"),
    "a soft hyphen": HOST.replace("us-", "us\u00ad-"),
    "punycode": HOST.replace("amazonaws", "xn--amazonaws-abc"),
    "an ideographic dot": HOST.replace(".dkr", "\u3002dkr"),
    "a dot replaced": HOST.replace("amazonaws.", "amazonawsX"),
    "a dot missing": HOST.replace("dkr.ecr", "dkrecr"),
    "an underscore": HOST.replace("us-west-2", "us_west_2"),
    "any region": HOST.replace("us-west-2", "*"),
    "no region": HOST.replace("us-west-2.", ""),
    "a region of two labels": HOST.replace("us-west-2", "us-west-2.evil"),
    "a region without a number": HOST.replace("us-west-2", "us-west"),
    "a region that is a word": HOST.replace("us-west-2", "evil"),
    "a region without end": HOST.replace("us-west-2", "us-" + "w" * 300 + "-2"),
    "a region of China under the common suffix": HOST.replace("us-west-2", "cn-north-1"),
    "a region of the isolated under the common suffix": HOST.replace("us-west-2", "us-iso-east-1"),
    "a common region under China's suffix": f"{HOST}.cn",
    "a common region under Europe's suffix": HOST.replace(".com", ".eu"),
    "a common region under China's dual-stack suffix": f"{ACCOUNT}.dkr-ecr.us-west-2.on.amazonwebservices.com.cn",
    "another kind of FIPS": HOST.replace(".ecr.", ".ecr-fipsy."),
    "dual-stack labels under the standard suffix": f"{ACCOUNT}.dkr-ecr.us-west-2.amazonaws.com",
    "standard labels under the dual-stack suffix": f"{ACCOUNT}.dkr.ecr.us-west-2.on.aws",
    "the API": "api.ecr.us-west-2.amazonaws.com",
    "the dual-stack API": "ecr.us-west-2.api.aws",
    "an interface endpoint's own name": f"vpce-0a1b-2c3d.dkr.ecr.us-west-2.vpce.{HOST.partition('us-west-2.')[2]}",
    "public ECR": "public.ecr.aws",
    "public ECR's other name": "ecr-public.aws.com",
}


def entry(endpoint: str, host: str = HOST) -> settings.RegistryHost:
    """`endpoint`, on loopback, is dialled for `host`."""
    return settings.RegistryHost(host, endpoint=endpoint, insecure_http=True, loopback=True)
