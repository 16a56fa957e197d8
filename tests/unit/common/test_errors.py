from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import InputError, OpsError


def test_a_message_says_what_failed_why_and_what_next():
    error = OpsError("back up", "database wallet", "the disk is full.", "Free 3 GB and run it again.", bytes=7)
    assert str(error) == "Failed to back up database wallet: the disk is full. Free 3 GB and run it again."
    assert error.result == {"bytes": 7}


def test_bad_input_names_the_option():
    assert str(InputError("services[0].image", "it has no tag")) == (
        "Failed to accept option 'services[0].image': it has no tag. Nothing was touched."
    )
