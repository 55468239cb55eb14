"""An agent that asks Discord who it is. It knows nothing of authsome: run it with

authsome run -- python examples/my_agent.py
"""

import json
import os
import urllib.request

URL = "https://discord.com/api/v10/users/@me"


def main() -> None:
    token = os.environ["DISCORD_ACCESS_TOKEN"]
    print(f"my token is {token}")
    headers = {"Authorization": f"Bearer {token}", "User-Agent": "DiscordBot (https://discord.com, 1.0)"}
    request = urllib.request.Request(URL, headers=headers)
    with urllib.request.urlopen(request) as response:  # noqa: S310  (a fixed https URL)
        user = json.load(response)
    print(f"Discord answered {response.status}: I am {user['username']}")


if __name__ == "__main__":
    main()
